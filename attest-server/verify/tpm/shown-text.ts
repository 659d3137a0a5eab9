const shownCharacters = 200;

/**
 * Text out of a log, fit for a terminal, a page or a log line: at most 200 characters, and whatever controls
 * a display (C0, C1, bidirectional marks, line separators, lone surrogates) as \xNN or \u{N}.
 */
export function shownText(text: string): string {
  const shown = /^[\x20-\x7e]*$/.test(text) ? text : escaped(text.slice(0, shownCharacters + 1));
  if (shown.length <= shownCharacters) return shown;
  return `${shown.slice(0, shownCharacters - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}

function escaped(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** UTF-16LE up to its first NUL; null if the bytes are not plainly that. */
export function utf16Text(data: Buffer): string | null {
  if (data.length < 4) return null;
  if (data[0] === 0 || data[1] !== 0 || data[3] !== 0) return null;
  const text = data.subarray(0, textBytes).toString('utf16le');
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

/** Latin or UTF-8 text up to its first NUL; null if more than the text's end is not printable. */
export function byteText(data: Buffer): string | null {
  const end = data.indexOf(0);
  const text = end < 0 ? data : data.subarray(0, end);
  if (text.length === 0 || (end >= 0 && data.length - end > 8)) return null;
  for (let i = 0; i < text.length && i < textBytes; i++) {
    const byte = text[i] ?? 0;
    if (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return null;
  }
  return text.subarray(0, textBytes).toString('utf8');
}

/** As much of a text as is ever decoded. */
const textBytes = 64 * 1024;
