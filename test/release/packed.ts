import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Fault } from './fault.ts';
import { noticeFile } from './notice.ts';

/** Files of ours that are packed as they are. */
const copied: readonly RegExp[] = [
  /^(README|SECURITY|CHANGELOG)\.md$/,
  /^LICENSE$/,
  new RegExp(`^${noticeFile.replace('.', '\\.')}$`),
  /^docs\/(?:runbooks\/)?[\w-]+\.md$/,
  /^docs\/man\/man1\/[\w-]+\.1$/,
  /^docs\/(events\.schema\.json|why\.svg)$/,
  /^manifests\/README\.md$/,
  /^attest-server\/roots\/(?:intermediates\/)?SOURCES\.md$/,
  /^manifests\/(?:host|prometheus)\/[\w.@-]+\.(conf|json|path|service|socket|timer|yaml)$/,
  /^manifests\/(?:base|chart|examples)\/(?:[\w-]+\/)*\w[\w.-]*\.(json|md|tpl|txt|yaml)$/,
  /^manifests\/chart\/\.helmignore$/,
  /^attest-server\/(?:[\w-]+\/)*[\w.-]+\.(pem|yaml)$/,
  /^attest-server\/policy\/file\/policy\.schema\.json$/,
  /^(?:attest-server|agent|agent\/gate|agent\/unlock)\/config\.schema\.json$/,
  /^attest-server\/cli\/assay\.mjs$/,
];

/** What the build writes itself. */
const written: readonly RegExp[] = [
  /^(package|bundled-packages)\.json$/,
  /^(assay|assay-server|assay-agent|assay-cloud-aws|assay-cloud-gce)\.js$/,
  /^bin\/(assay|assay-server|assay-agent|assay-cloud-aws|assay-cloud-gce|kubectl-assay)$/,
];

/** The programs themselves, and what they load later. */
const built =
  /^(agent|attest-server|attest-server\/cli|manifests\/cloud\/(?:aws|gce))\/(main|[\w-]+-[A-Z0-9]{8})\.js$|^agent\/collectors\/inventory-program\.js$/;

/** That nothing is packed but what is meant. @param folder that is packed @param tree of which it was made */
export function checkPacked(folder: string, tree: string): readonly Fault[] {
  // Those whose names begin with a dot too: a glob leaves them out, and npm packs them.
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => !statSync(join(folder, file)).isDirectory())
    .sort();
  const isMeant = (file: string) => [...copied, ...written, built].some((pattern) => pattern.test(file));
  return [
    ...files
      .filter((file) => !isMeant(file))
      .map((file) => ({
        what: `${file} is packed, and nobody said that it is to be`,
        next: 'Have swtpm-fixtures/set-up/build.ts leave it out; or say so in test/release/packed.ts.',
      })),
    ...files
      .filter((file) => /(^|\/)test\/|\.test\.[cm]?[jt]s$/.test(file))
      .map((file) => ({
        what: `${file} is a test`,
        next: 'Leave it out in swtpm-fixtures/set-up/build.ts.',
      })),
    ...files.filter((file) => file.endsWith('.md')).flatMap((file) => deadLinks(folder, file)),
    ...files.flatMap((file) => faultsOf(file, readFileSync(join(folder, file), 'latin1'), tree)),
    ...files
      .filter((file) => /\.(node|bare|so|dylib|dll|exe|wasm)$/.test(file))
      .map((file) => ({
        what: `${file} is machine code, which nobody can read`,
        next: 'Leave it out in swtpm-fixtures/set-up/build.ts.',
      })),
  ];
}

function deadLinks(folder: string, file: string): readonly Fault[] {
  const prose = readFileSync(join(folder, file), 'utf8')
    .replace(/^```[\s\S]*?^```/gm, '')
    .replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s#]+)/g)]
    .map(([, path = '']) => path)
    .filter((path) => !/^[a-z]+:/.test(path) && !existsSync(join(folder, dirname(file), path)))
    .map((path) => ({
      what: `${file} links to ${path}, which is not packed`,
      next: 'Pack it, or have swtpm-fixtures/set-up/copied-files.ts take the link out.',
    }));
}

function faultsOf(file: string, text: string, tree: string): readonly Fault[] {
  const faults: Fault[] = [];
  if (/-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}/.test(text))
    faults.push({
      what: `${file} holds a private key`,
      next: 'Take it out, and replace that key everywhere.',
    });
  const named = [tree, ...(homedir() === '/' ? [] : [`${homedir()}/`])].find((path) => text.includes(path));
  if (named !== undefined)
    faults.push({
      what: `${file} names a folder of this machine (${named})`,
      next: 'Name it relative to the package.',
    });
  return faults;
}
