/** The token that the printed address carries: kept in this origin's storage, which no other port or site can read. */

const NAME = "diorama-token";
/** What socket and page call their talk; the token goes beside it, since a socket can send no header. */
const TALK = "diorama";

let held: string | null = null;

/** Take the token from the address, where it must not stay, or from a former visit; null where there is none. */
export function token(): string | null {
  const query = new URLSearchParams(location.search);
  const given = query.get("token");
  if (given) {
    held = given;
    history.replaceState(history.state, "", location.pathname + location.hash);
    try {
      localStorage.setItem(NAME, given);
    } catch {
      // Without storage it lasts as long as this page.
    }
  }
  if (held === null) {
    try {
      held = localStorage.getItem(NAME);
    } catch {
      held = null;
    }
  }
  return held;
}

/** What a socket offers as its protocols. */
export function talks(): string[] {
  const mine = token();
  return mine ? [TALK, mine] : [];
}
