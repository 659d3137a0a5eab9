import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FirewallPart, nftOutput } from '../../attest-server/wire/firewall.ts';
import { parseJson } from '../../attest-server/wire/parse-json.ts';

/** The folder does not say what its rules were: no part can be made of it. */
export class FolderError extends Error {
  override readonly name = 'FolderError';
}

/**
 * The part `firewall` of a folder that holds what each program printed: `nft.json`, `iptables-save.txt`,
 * `ip6tables-save.txt`, and the same of `-legacy-`. A program's errors stand in a file of its name with `.err`.
 * @throws FolderError where a program printed an error or nothing was recorded of it: that is not "no rules"
 * @throws Rejection `malformed`
 */
export async function firewallPartOfFolder(folder: string): Promise<FirewallPart> {
  // One after the other: of several that are missing or wrong, the first is named, each time.
  const nft = await recorded(folder, 'nft.json');
  const ip = await recorded(folder, 'iptables-save.txt');
  const ip6 = await recorded(folder, 'ip6tables-save.txt');
  const legacyIp = await recorded(folder, 'iptables-legacy-save.txt');
  const legacyIp6 = await recorded(folder, 'ip6tables-legacy-save.txt');
  for (const [of, text] of [
    [ip, legacyIp.text],
    [ip6, legacyIp6.text],
  ] as const)
    if (of.besideLegacy && text === null)
      throw new FolderError(`${of.name} says that iptables-legacy has tables, and none was recorded`);
  if (nft.text === null)
    throw new FolderError('nft.json is empty: nft prints its version even where there are no rules');
  return {
    version: 1,
    nft: parseJson(nft.text, nftOutput, 'nft.json').nftables,
    iptables: { ip: ip.text, ip6: ip6.text },
    legacy: { ip: legacyIp.text, ip6: legacyIp6.text },
    owned: [],
  };
}

interface Recorded {
  readonly name: string;
  /** Null where the program printed nothing. */
  readonly text: string | null;
  readonly besideLegacy: boolean;
}

async function recorded(folder: string, name: string): Promise<Recorded> {
  const [text, errors] = await Promise.all([textOf(folder, name), textOf(folder, `${name}.err`)]);
  if (text === null) throw new FolderError(`${name} is missing`);
  const said = `${errors ?? ''}\n${text.startsWith('{') ? '' : text}`.split('\n');
  const fault = [...(errors ?? '').split('\n'), ...(isOutput(text) ? [] : text.split('\n'))].find(
    (line) => line.trim() !== '' && !harmless.test(line),
  );
  if (fault !== undefined) throw new FolderError(`${name}: ${fault.slice(0, 200)}`);
  return {
    name,
    text: text.split('\n').every((line) => line.trim() === '' || harmless.test(line)) ? null : text,
    besideLegacy: said.some((line) => /^# Warning: ip6?tables-legacy tables present/.test(line)),
  };
}

async function textOf(folder: string, name: string): Promise<string | null> {
  try {
    return await readFile(join(folder, name), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** What is printed beside rules that are shown as a whole. */
const harmless =
  /^# (Warning: (ip6?tables-legacy tables present|table \S+ \S+ is managed by iptables-nft)|(Generated|Completed) )/;

/** An error of a program that was sent into the same file begins neither a table nor JSON. */
function isOutput(text: string): boolean {
  return /^(#|\*|\{|\s*$)/.test(text);
}
