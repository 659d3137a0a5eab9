import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where a machine says from where it takes Debian, and what its archive is signed with. */
export interface SourcesPlaces {
  /** `/etc/apt`, or another folder of that form. */
  readonly apt: string;
  /** Of them the first that is there. */
  readonly keyrings: readonly string[];
}

/**
 * The machine's own sources of a Debian release, as a list for apt in which each must be signed by Debian. Nothing else that
 * the machine installs from comes into an image.
 * @throws Error where the machine names no source of this release
 */
export function readSources(release: string, { apt, keyrings }: SourcesPlaces): string {
  const keyring = keyrings.find((file) => existsSync(file));
  if (keyring === undefined)
    throw new Error(
      `the keys of Debian's archive are not here (${keyrings[0]}): apt install debian-archive-keyring`,
    );
  const texts = ['sources.list', ...globSync('sources.list.d/*.{list,sources}', { cwd: apt }).sort()]
    .map((name) => ({ name, file: join(apt, name) }))
    .filter(({ file }) => existsSync(file))
    .map(({ name, file }) => ({ name, text: readFileSync(file, 'utf8') }));
  const wanted = [release, `${release}-updates`, `${release}-security`];
  const found = texts
    .flatMap(({ name, text }) => (name.endsWith('.sources') ? parseStanzas(text) : parseLines(text)))
    .filter(({ trusted }) => !trusted)
    .map(({ uris, suites }) => ({ uris, suites: suites.filter((suite) => wanted.includes(suite)) }))
    .filter(({ suites }) => suites.length > 0);
  if (!found.some(({ suites }) => suites.includes(release)))
    throw new Error(
      `${apt} names no source of Debian ${release}, of which the images are made: add one, or build on a machine with it`,
    );
  return found
    .map(
      ({ uris, suites }) =>
        `Types: deb\nURIs: ${uris.join(' ')}\nSuites: ${suites.join(' ')}\nComponents: main\nSigned-By: ${keyring}\n`,
    )
    .join('\n');
}

interface Source {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  /** Taken without a signature. */
  readonly trusted: boolean;
}

/** The form of today (deb822). */
function parseStanzas(text: string): readonly Source[] {
  const stanzas = text
    .replace(/^#.*\n?/gm, '')
    .split(/\n\s*\n/)
    .map((stanza) => {
      const words = (name: string) =>
        new RegExp(`^${name}:(.*)$`, 'im').exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
      return {
        isOn: words('Types').includes('deb') && words('Enabled')[0]?.toLowerCase() !== 'no',
        uris: words('URIs'),
        suites: words('Suites'),
        trusted: words('Trusted')[0]?.toLowerCase() === 'yes',
      };
    });
  return stanzas.filter(({ isOn }) => isOn);
}

/** The form of before: `deb [options] URI suite component…`. */
function parseLines(text: string): readonly Source[] {
  return [...text.matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)/gm)].map(
    ([, options = '', uri = '', suite = '']) => ({
      uris: [uri],
      suites: [suite],
      trusted: /\btrusted=yes\b/.test(options),
    }),
  );
}
