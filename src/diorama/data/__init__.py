"""Where examples come from: arrays, files, kinds of input (raw to tensor and back), drawings prepared as the data was
made."""
