/**
 * The text of the only element of that name; null where there is none, or several, or where it holds more than text. Answers
 * of AWS are flat, and what is read of them needs no character that XML escapes.
 */
export function textIn(xml: string, name: string): string | null {
  const [found, ...more] = xml.split(`<${name}>`).slice(1);
  if (found === undefined || more.length > 0) return null;
  const end = found.indexOf('<');
  return end >= 0 && found.startsWith(`</${name}>`, end) ? found.slice(0, end).trim() : null;
}
