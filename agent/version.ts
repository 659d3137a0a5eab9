import { readFileSync } from 'node:fs';

/** This program's version, as package.json says. */
export function readVersion(): string {
  const described: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const known = typeof described === 'object' && described !== null && 'version' in described;
  return known && typeof described.version === 'string' ? described.version : '0.0.0';
}
