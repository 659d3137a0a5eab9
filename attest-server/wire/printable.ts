/** C0 and C1 controls, DEL, and what changes the direction of text or breaks lines: a terminal would obey them. */
const unsafe =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** The most of a text from outside, in UTF-16 units, that is kept, logged or said. */
const outsideTextLength = 256;

/** Text of others on one line of a terminal: what a terminal would obey is shown as `\u001b`. */
export function printable(text: string): string {
  return text.replace(unsafe, escapeUnit);
}

/**
 * The one cap on words of a peer, of a certificate or of a log, before they stand in an error, a log or an audit
 * entry, or are kept as text: printable, at most `outsideTextLength`, with `…` where more was said.
 */
export function outsideText(text: string): string {
  const shown = printable(text.slice(0, outsideTextLength + 1));
  if (shown.length <= outsideTextLength) return shown;
  return `${shown.slice(0, outsideTextLength - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
