import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type UserConfig } from "vite";

// One source tree, three outputs: the page, one script for exported HTML files, one module for notebooks.
const out = "../src/diorama/static";

// The page's Content-Security-Policy allows nothing inline and no data: scripts or fonts, so that nothing is ever inlined.
const page: UserConfig = {
  plugins: [svelte()],
  base: "/",
  build: { outDir: out, emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2023" },
};

function library(entry: string, format: "iife" | "es", file: string): UserConfig {
  return {
    build: {
      outDir: out,
      emptyOutDir: false,
      copyPublicDir: false,
      target: "es2023",
      lib: { entry, formats: [format], name: "diorama", fileName: () => file },
    },
  };
}

export default defineConfig(({ mode }) => {
  if (mode === "standalone") return library("src/standalone.ts", "iife", "standalone.js");
  if (mode === "widget") return library("src/widget.ts", "es", "widget.js");
  return page;
});
