import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';
import { z } from 'zod';
import { version } from '../../attest-server/version.ts';
import { checkSpdx } from '../manifests/images/spdx-document.ts';
import { endOf } from './end-of.ts';

const root = join(import.meta.dirname, '../..');
const recorded = join(root, 'swtpm-fixtures/recorded/debian13-shim-grub/binary_bios_measurements');
const manifest = z
  .looseObject({ version: z.string(), optionalDependencies: z.record(z.string(), z.string()) })
  .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
const commands = [
  'assay',
  'assay-server',
  'assay-agent',
  'assay-cloud-aws',
  'assay-cloud-gce',
  'kubectl-assay',
] as const;
const bounds = { timeoutMs: 120_000, maxOutputBytes: 1 << 20 };
/** Nobody, where the tests run as root: an installation needs no rights. */
const user = 65_534;
const asNobody = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--'];
let rights: readonly string[] = [];

describe('the packed programs, installed without a clone', function () {
  this.timeout(240_000);
  let registry: Registry;
  let folder = '';
  let tarball = '';
  let askedByInstall: readonly string[] = [];
  const inFolder = (...names: string[]) => join(folder, ...names);
  const own = (...names: string[]) => {
    const path = inFolder(...names);
    mkdirSync(path, { recursive: true });
    if (rights.length > 0) chownSync(path, user, user);
    return path;
  };
  /** The machine's own programs, without those of this clone. */
  const machinePath = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((path) => !path.includes('node_modules'))
    .join(delimiter);

  const env = (more: Readonly<Record<string, string>> = {}) => {
    const npm = { npm_config_cache: inFolder('home', 'cache'), npm_config_update_notifier: 'false' };
    return Object.assign({ PATH: machinePath, HOME: inFolder('home') }, npm, more);
  };
  /** Runs a program as a user to its end. */
  async function asUser(argv: readonly string[], more: Readonly<Record<string, string>> = {}) {
    const [program = '', ...args] = drop(argv);
    const child = start(program, args, {
      env: env(more),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, stderr, [code]] = await Promise.all([
      child.stdout === null ? '' : textOf(child.stdout),
      child.stderr === null ? '' : textOf(child.stderr),
      once(child, 'close'),
    ]);
    return { code, stdout, stderr };
  }
  const npm = (prefix: string, ...args: readonly string[]) =>
    asUser(['npm', 'install', '--global', '--prefix', prefix, '--registry', registry.url, ...args]);
  const installed = (name: string, prefix = 'prefix') => inFolder(prefix, 'bin', name);

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-pack-'));
    chmodSync(folder, 0o755);
    // Nobody cannot run an npm that is in root's home: it is root's then.
    if (process.getuid?.() === 0)
      rights = await run('setpriv', [...asNobody.slice(1), 'npm', '--version'], {
        ...bounds,
        env: env(),
      }).then(
        () => asNobody,
        () => [],
      );
    own('home');
    const args = ['--pack', folder, '--out', inFolder('dist')];
    const setup = join(root, 'swtpm-fixtures/setup.mjs');
    const packed = await endOf([setup, 'pack', '--', ...args], { PATH: process.env.PATH ?? '' });
    assert.equal(packed.code, 0, packed.stderr);
    // What was built is gone: only the file counts.
    rmSync(inFolder('dist'), { recursive: true });
    tarball = inFolder(`assay-${manifest.version}.tgz`);
    // A clone in a home is closed to others: the pinned Node is copied to where a user reaches it.
    copyFileSync(process.execPath, inFolder('node'));
    chmodSync(inFolder('node'), 0o755);
    registry = await startRegistry(folder, inFolder('node'));
    const { code, stderr } = await npm(own('prefix'), tarball);
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /EBADENGINE|warn/i);
    askedByInstall = [...registry.asked].sort();
  });
  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it('ask a registry for the pinned Node of each machine, and for no other name (row 131)', () => {
    assert.deepEqual(askedByInstall, Object.keys(manifest.optionalDependencies).sort());
  });

  it('are built, with the packages that run in them, in less than 6 MB', async () => {
    assert.ok(statSync(tarball).size < 6_000_000, String(statSync(tarball).size));
    const { stdout } = await run('tar', ['-tzf', tarball], bounds);
    const names = stdout.toString().trim().split('\n');
    assert.deepEqual(
      names.filter((name) => /\.([mc]?ts|map)$|^package\/(test|swtpm-fixtures)\//.test(name)),
      [],
    );
    const manifests = [
      'manifests/host/assay-server.service',
      'manifests/prometheus/assay.rules.yaml',
      'manifests/prometheus/dashboard.json',
      'manifests/chart/templates/_names.tpl',
      'manifests/base/agent/daemonset.yaml',
    ];
    const documents = ['docs/watching.md', 'docs/runbooks/AssayNodeChanged.md'];
    for (const name of ['LICENSE', 'README.md', ...documents, ...manifests])
      assert.ok(names.includes(`package/${name}`), name);
    assert.deepEqual(
      names.filter((name) => name.includes('node_modules')),
      [],
    );
  });

  it('have the size that the documents say, within a tenth', () => {
    const said = globSync('{*,docs/*}.md', { cwd: root }).flatMap((file) =>
      [...readFileSync(join(root, file), 'utf8').matchAll(/\.tgz has ([\d.]+) MB/g)].map(([, size]) =>
        Number(size),
      ),
    );
    const size = statSync(tarball).size / 1e6;
    assert.ok(said.length > 0);
    for (const each of said)
      assert.ok(Math.abs(each / size - 1) < 0.1, `${each} MB are said, and it has ${size} MB`);
  });

  it('come with their digest, which sha256sum takes, and an SBOM of what is in them', async () => {
    await run(
      'sh',
      ['-euc', 'cd "$1" && sha256sum --check --strict "$2"', 'sh', folder, `${tarball}.sha256`],
      bounds,
    );
    const sbom: unknown = JSON.parse(readFileSync(inFolder(`assay-${manifest.version}.spdx.json`), 'utf8'));
    checkSpdx(sbom);
    assert.match(JSON.stringify(sbom), /pkg:npm\/zod@/);
  });

  it('bring manual pages, which man finds without being told where', () => {
    for (const name of commands)
      assert.match(readFileSync(inFolder('prefix/share/man/man1', `${name}.1`), 'utf8'), /^\.(TH|so) /);
  });

  for (const name of commands)
    it(`${name} is on the PATH, says its version, and has help`, async () => {
      const shell = (line: string) =>
        asUser(['sh', '-c', line], { PATH: `${inFolder('prefix', 'bin')}${delimiter}${machinePath}` });
      assert.deepEqual(await shell(`${name} --version`), { code: 0, stdout: `${version}\n`, stderr: '' });
      const help = await shell(`${name} --help`);
      assert.equal(help.code, 0);
      assert.match(help.stdout, /^Usage: assay/);
    });

  it('are not replaced by a stranger’s package of their name when npm updates what is global (row 131)', async () => {
    const prefix = ['--global', '--prefix', inFolder('prefix'), '--registry', registry.url];
    await asUser(['npm', 'update', ...prefix]);
    assert.ok(!registry.asked.has('assay') && !registry.asked.has('node-tpm2'));
    assert.equal((await asUser([installed('assay'), '--version'])).stdout, `${version}\n`);
  });

  it('run on the pinned Node, whatever the machine has', async () => {
    const old = oldNode(own('old'), inFolder('node'));
    for (const PATH of [`${old}${delimiter}${machinePath}`, '/usr/bin:/bin'])
      assert.equal((await asUser([installed('assay'), '--version'], { PATH })).code, 0);
  });

  for (const args of [
    ['eventlog', recorded, '-o', 'json'],
    // These read what lies beside the code.
    ['policy', 'check', 'strict'],
    ['ek', 'roots', '-o', 'json'],
  ])
    it(`assay ${args[0]} ${args[1]?.split('/').at(-1)} says what its source says`, async () => {
      const source = await endOf([join(root, 'attest-server/cli/assay.mjs'), ...args], {});
      // A clone in a home is closed to others.
      copyFileSync(recorded, inFolder('log'));
      const its = args.map((arg) => (arg === recorded ? inFolder('log') : arg));
      assert.notEqual(source.stdout, '');
      assert.deepEqual(await asUser([installed('assay'), ...its]), source);
    });

  it('serve, ask and report: server, command, kubectl plugin and agent', async () => {
    const stateDir = inFolder('home', 'state');
    const served = {
      ASSAY_STATE_DIR: stateDir,
      ASSAY_HOST: '127.0.0.1',
      ...{ ASSAY_AGENT_PORT: '0', ASSAY_API_PORT: '0', ASSAY_METRICS_PORT: '0' },
    };
    const server = daemon(['assay-server'], served);
    try {
      const { agents, api, ca } = await server.says(
        z.object({ agents: z.int(), api: z.int(), ca: z.string() }),
      );
      const asking = {
        ASSAY_SERVER: `https://127.0.0.1:${api}`,
        ASSAY_TOKEN_FILE: join(stateDir, 'reader.token'),
        ASSAY_CA_FILE: ca,
      };
      for (const name of ['assay', 'kubectl-assay'] as const) {
        const { code, stdout, stderr } = await asUser(
          [installed(name), 'get', 'nodes', '-o', 'json'],
          asking,
        );
        assert.equal(code, 0, stderr);
        assert.deepEqual(z.looseObject({ items: z.array(z.unknown()) }).parse(JSON.parse(stdout)).items, []);
      }
      const agent = daemon(['assay-agent', 'run'], {
        ASSAY_AGENT_SERVERS: `127.0.0.1:${agents}`,
        ASSAY_AGENT_NODE: 'node-1',
        ASSAY_AGENT_CA_FILE: ca,
        ASSAY_AGENT_TCTI: 'device:/dev/no-such-tpm',
        ASSAY_AGENT_STATE_DIR: inFolder('home', 'agent'),
      });
      // Its machine has no TPM that the policy knows of.
      await agent.says(z.object({ code: z.literal('configuration'), version: z.literal(version) }));
      await agent.says(z.object({ code: z.literal('unsupported_tpm'), next: z.string() }));
      assert.equal(await agent.end(), 0);
    } finally {
      assert.equal(await server.end(), 0);
    }
  });

  it('run on the machine’s Node where there is no pinned one for it, and say which they need where that is too old', async () => {
    cpSync(inFolder('prefix'), inFolder('without'), { recursive: true, verbatimSymlinks: true });
    for (const name of Object.keys(manifest.optionalDependencies))
      rmSync(inFolder('without/lib/node_modules/Assay/node_modules', name), { recursive: true, force: true });
    const fresh = own('fresh');
    copyFileSync(inFolder('node'), join(fresh, 'node'));
    for (const name of commands) {
      const command = [installed(name, 'without'), '--version'];
      const good = await asUser(command, { PATH: `${fresh}${delimiter}/usr/bin:/bin` });
      assert.deepEqual([good.code, good.stdout], [0, `${version}\n`]);
      const old = oldNode(own('old'), inFolder('node'));
      const bad = await asUser(command, { PATH: `${old}${delimiter}/usr/bin:/bin` });
      assert.equal(bad.code, 1);
      assert.match(bad.stderr, /this is Node 20\.19\.2, and Node 24 or newer is needed/);
    }
  });

  it('run no program that lies beside a copy which npm did not install (row 131)', async () => {
    const beside = own('unpacked');
    await run('tar', ['-xzf', tarball, '-C', beside], bounds);
    for (const arch of ['x64', 'arm64']) {
      const planted = join(own('unpacked', `node-linux-${arch}`, 'bin'), 'node');
      writeFileSync(planted, '#!/bin/sh\necho planted\n', { mode: 0o755 });
    }
    const fresh = own('fresh');
    copyFileSync(inFolder('node'), join(fresh, 'node'));
    for (const name of commands) {
      const command = [join(beside, 'package/bin', name), '--version'];
      const { stdout } = await asUser(command, { PATH: `${fresh}${delimiter}/usr/bin:/bin` });
      assert.equal(stdout, `${version}\n`);
    }
  });

  it('say that there are none where npm packed the clone without compiling it', async () => {
    const raw = own('raw');
    await run('npm', ['pack', root, '--pack-destination', raw, '--loglevel=error'], {
      ...bounds,
      env: env({ npm_config_cache: join(raw, 'cache') }),
    });
    await run('tar', ['-xzf', join(raw, `assay-${manifest.version}.tgz`), '-C', raw], bounds);
    assert.ok(!existsSync(join(raw, 'package/test')));
    const { code, stderr } = await endOf([join(raw, 'package/attest-server/cli/assay.mjs'), '--version'], {});
    assert.equal(code, 1);
    assert.match(stderr, /npm run pack/);
  });

  /** A program of the installation that stays up, and writes JSON lines. */
  function daemon([name = '', ...args]: readonly string[], more: Readonly<Record<string, string>>) {
    const [program = '', ...rest] = drop([installed(name), ...args]);
    const child = start(program, rest, {
      env: env(more),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    const closed = once(child, 'close');
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    return {
      /** The first line of this form. */
      async says<T>(form: z.ZodType<T>): Promise<T> {
        for (;;) {
          for (const text of said.split('\n').slice(0, -1)) {
            const found = form.safeParse(text.startsWith('{') ? JSON.parse(text) : null);
            if (found.success) return found.data;
          }
          if (child.exitCode !== null) throw new Error(said);
          await Promise.race([once(child.stderr ?? child, 'data'), closed]);
        }
      },
      async end(): Promise<unknown> {
        child.kill('SIGTERM');
        const [code] = await closed;
        return code;
      },
    };
  }
});

/** A command line in a home that is empty, without root's rights. */
function drop(argv: readonly string[]): readonly string[] {
  return [...rights, 'sh', '-c', 'cd "$HOME" && exec "$@"', 'sh', ...argv];
}

/** A folder for the PATH whose `node` says that it is the one of Debian 13. */
function oldNode(folder: string, node: string): string {
  const say = 'Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.19.2"}})';
  writeFileSync(
    join(folder, 'node'),
    `#!/bin/sh\nexec ${node} --import 'data:text/javascript,${say}' "$@"\n`,
  );
  chmodSync(join(folder, 'node'), 0o755);
  return folder;
}

async function textOf(stream: AsyncIterable<Buffer | string>): Promise<string> {
  let text = '';
  for await (const part of stream) text += part.toString();
  return text;
}

interface Registry extends AsyncDisposable {
  readonly url: string;
  /** Every package that somebody asked for. */
  readonly asked: ReadonlySet<string>;
}

/** A registry on the loopback: it has the pinned Node's packages and those of strangers, and notes what it is asked for. */
async function startRegistry(folder: string, node: string): Promise<Registry> {
  const tarballs = new Map<
    string,
    { readonly version: string; readonly bytes: Buffer; readonly cpu: string }
  >();
  for (const [name, itsVersion] of Object.entries(manifest.optionalDependencies)) {
    const source = join(folder, 'registry', name);
    const cpu = Object.hasOwn(manifest.optionalDependencies, name)
      ? (name.split('-').at(-1) ?? '')
      : process.arch;
    mkdirSync(join(source, 'bin'), { recursive: true });
    const described = { name, version: itsVersion, os: ['linux'], cpu: [cpu], bin: { [name]: 'bin/node' } };
    writeFileSync(join(source, 'package.json'), JSON.stringify(described));
    // The package holds the program itself; a line that starts it is as good here.
    writeFileSync(join(source, 'bin/node'), `#!/bin/sh\nexec ${node} "$@"\n`, { mode: 0o755 });
    await run('npm', ['pack', source, '--pack-destination', source, '--offline', '--loglevel=error'], {
      ...bounds,
      env: { PATH: process.env.PATH ?? '', HOME: folder },
    });
    tarballs.set(name, {
      version: itsVersion,
      cpu,
      bytes: readFileSync(join(source, `${name}-${itsVersion}.tgz`)),
    });
  }
  const asked = new Set<string>();
  let url = '';
  const server = createServer((request, response) => {
    const [, name = '', ...file] = decodeURIComponent(request.url ?? '').split('/');
    asked.add(name);
    const found = tarballs.get(name);
    if (found === undefined) return response.writeHead(404).end('{}');
    if (file.length > 0) return response.end(found.bytes);
    const { version: its, cpu } = found;
    const dist = { tarball: `${url}/${name}/-/${name}-${its}.tgz` };
    const packument = {
      name,
      'dist-tags': { latest: its },
      versions: {
        [its]: { name, version: its, os: ['linux'], cpu: [cpu], bin: { [name]: 'bin/node' }, dist },
      },
    };
    return response.setHeader('content-type', 'application/json').end(JSON.stringify(packument));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  url = `http://127.0.0.1:${address.port}`;
  return {
    url,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
