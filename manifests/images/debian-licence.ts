/** What a copyright file of Debian says, in the words of SPDX. */
export interface DebianLicence {
  /** An SPDX expression, or NOASSERTION where the file is not of the machine-readable form. */
  readonly expression: string;
  /** The licences in it that SPDX has no word for: `LicenseRef-…` and what the file says of it. */
  readonly others: Readonly<Record<string, string>>;
}

/**
 * All licences that the file names: a package is under each that one of its files is under.
 * @param source the source package: another one may mean another text by the same short name
 */
export function parseCopyright(text: string, source: string): DebianLicence {
  const others: Record<string, string> = {};
  const parts = new Set<string>();
  for (const { name, body } of licencesIn(text)) parts.add(expressionOf(name, body, { source, others }));
  if (parts.size === 0) return { expression: 'NOASSERTION', others: {} };
  const sorted = [...parts].sort();
  const joined = sorted.map((part) => (sorted.length > 1 && / (OR|AND) /.test(part) ? `(${part})` : part));
  return { expression: joined.join(' AND '), others };
}

/** The machine-readable form, version 1.0: a licence's first line is its name, its text follows indented. */
function licencesIn(text: string): readonly { readonly name: string; readonly body: string }[] {
  if (!/^Format(-Specification)?:/m.test(text)) return [];
  const found = [...text.matchAll(/^Licen[sc]e:[ \t]*(.*)((?:\n[ \t].*)*)/gim)].map(
    ([, name = '', body = '']) => ({
      name: name.trim(),
      body: body.replace(/^\s\.?/gm, '').trim(),
    }),
  );
  const bodies = new Map(found.filter(({ body }) => body !== '').map(({ name, body }) => [name, body]));
  return found.filter(({ name }) => name !== '').map(({ name }) => ({ name, body: bodies.get(name) ?? '' }));
}

interface Found {
  readonly source: string;
  readonly others: Record<string, string>;
}

function expressionOf(name: string, body: string, found: Found): string {
  // One kind of operator alone has no rule of which binds first.
  const operators = new Set([...name.matchAll(/ (and|or) /g)].map(([, operator]) => operator));
  if (operators.size === 1 && !/[,()]/.test(name)) {
    const operator = operators.has('and') ? 'AND' : 'OR';
    return name
      .split(/ (?:and|or) /)
      .map((part) => wordOf(part.trim(), '', found))
      .join(` ${operator} `);
  }
  return wordOf(name, body, found);
}

function wordOf(name: string, body: string, { source, others }: Found): string {
  const known = spdxOf(name);
  if (known !== null) return known;
  const word = `LicenseRef-Debian-${`${source}-${name}`.replace(/[^A-Za-z0-9.]+/g, '-').replace(/^-+|-+$/g, '')}`;
  if (others[word] === undefined || others[word] === name) others[word] = body === '' ? name : body;
  return word;
}

/** Debian's short names of which it is plain what they mean. */
function spdxOf(name: string): string | null {
  const simple = words[name.toLowerCase()];
  if (simple !== undefined) return simple;
  const [, family, version = '', orLater] =
    /^(A?GPL|LGPL|GFDL)-?v?(\d(?:\.\d)?)(?:\.0)?(\+)?$/.exec(name) ?? [];
  if (family === undefined) return null;
  const full = version.includes('.') ? version : `${version}.0`;
  const exists =
    { GPL: ['1.0', '2.0', '3.0'], AGPL: ['3.0'], LGPL: ['2.0', '2.1', '3.0'], GFDL: [] }[family] ?? [];
  return exists.includes(full) ? `${family}-${full}-${orLater === undefined ? 'only' : 'or-later'}` : null;
}

const words: Readonly<Record<string, string>> = {
  'apache-2': 'Apache-2.0',
  'apache-2.0': 'Apache-2.0',
  artistic: 'Artistic-1.0-Perl',
  beerware: 'Beerware',
  'bsd-2-clause': 'BSD-2-Clause',
  'bsd-3-clause': 'BSD-3-Clause',
  'bsd-4-clause': 'BSD-4-Clause',
  'bsd-4-clause-uc': 'BSD-4-Clause-UC',
  'bsl-1.0': 'BSL-1.0',
  'cc-by-sa-4.0': 'CC-BY-SA-4.0',
  cc0: 'CC0-1.0',
  'cc0-1.0': 'CC0-1.0',
  curl: 'curl',
  expat: 'MIT',
  fsfap: 'FSFAP',
  fsful: 'FSFUL',
  fsfullr: 'FSFULLR',
  isc: 'ISC',
  mit: 'MIT',
  'mpl-2.0': 'MPL-2.0',
  'oldap-2.8': 'OLDAP-2.8',
  'openldap-2.8': 'OLDAP-2.8',
  'unicode-dfs-2016': 'Unicode-DFS-2016',
  x11: 'X11',
  zlib: 'Zlib',
};
