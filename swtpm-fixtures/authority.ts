import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { madeOnce } from './made-once.ts';

/** The certificate authority that vouches for the endorsement keys of software TPMs. */
export interface TpmAuthority {
  /** Absolute; holds the private keys, mode 0700. */
  readonly dir: string;
  /** The file for `swtpm_setup --config`. */
  readonly setupConfig: string;
  /** A folder with the root's and the issuer's certificate as `*.pem`, for `--trust-roots`. */
  readonly rootsDir: string;
  /** PEM. */
  readonly rootCertificate: string;
  /** PEM; signed by the root, signs the endorsement certificates. */
  readonly issuerCertificate: string;
}

let shared: Promise<TpmAuthority> | undefined;

/** The authority of this process, made at first use and removed when the process ends. */
export function sharedAuthority(): Promise<TpmAuthority> {
  shared ??= mkdtemp(join(tmpdir(), 'assay-ca-')).then((dir) => {
    process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
    return openAuthority(dir);
  });
  return shared;
}

/** Opens the authority kept in a folder, or makes it there. */
export async function openAuthority(dir: string): Promise<TpmAuthority> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const setupConfig = join(dir, 'swtpm_setup.conf');
  const caConfig = join(dir, 'swtpm-localca.conf');
  const caOptions = join(dir, 'swtpm-localca.options');
  await writeFile(
    setupConfig,
    lines({
      create_certs_tool: '/usr/bin/swtpm_localca',
      create_certs_tool_config: caConfig,
      create_certs_tool_options: caOptions,
      active_pcr_banks: 'sha1,sha256,sha384',
    }),
  );
  await writeFile(
    caConfig,
    lines({
      statedir: dir,
      signingkey: join(dir, 'signkey.pem'),
      issuercert: join(dir, 'issuercert.pem'),
      certserial: join(dir, 'certserial'),
    }),
  );
  await writeFile(
    caOptions,
    '--platform-manufacturer Assay\n--platform-version 1\n--platform-model Fixture\n',
  );

  const issuerFile = join(dir, issuer);
  if (!(await exists(issuerFile)))
    await madeOnce('authority', [root, issuer, ...keys], dir, () => makeKeys(dir, caConfig, caOptions));
  const rootCertificate = await readFile(join(dir, root), 'utf8');
  const issuerCertificate = await readFile(issuerFile, 'utf8');
  const rootsDir = join(dir, 'roots');
  await mkdir(rootsDir, { recursive: true });
  await writeFile(join(rootsDir, 'root.pem'), rootCertificate);
  await writeFile(join(rootsDir, 'issuer.pem'), issuerCertificate);
  return { dir, setupConfig, rootsDir, rootCertificate, issuerCertificate };
}

const root = 'swtpm-localca-rootca-cert.pem';
const issuer = 'issuercert.pem';
const keys = ['swtpm-localca-rootca-privkey.pem', 'signkey.pem', 'certserial'] as const;

/** swtpm_localca makes its keys when it signs for the first time: let it sign a key that nothing uses. */
async function makeKeys(dir: string, config: string, options: string): Promise<void> {
  const scratch = join(dir, 'first');
  await mkdir(scratch, { recursive: true });
  const modulus = `c1${'5b'.repeat(254)}01`;
  await run(
    '/usr/bin/swtpm_localca',
    [
      ...['--type', 'ek', '--ek', modulus, '--dir', scratch, '--tpm2', '--vmid', 'first'],
      ...['--tpm-spec-family', '2.0', '--tpm-spec-revision', '164', '--tpm-spec-level', '0'],
      ...['--tpm-manufacturer', 'id:00001014', '--tpm-model', 'swtpm', '--tpm-version', 'id:20191023'],
      ...['--configfile', config, '--optsfile', options],
    ],
    { timeoutMs: 60_000, maxOutputBytes: 65_536 },
  );
}

async function exists(file: string): Promise<boolean> {
  return readFile(file).then(
    () => true,
    () => false,
  );
}

function lines(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('');
}
