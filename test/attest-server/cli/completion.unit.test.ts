import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  referenceOf,
  startApi,
  statusOf,
  verdictOf,
} from '../http/api-fixture.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

/** What a server that was taken over may call a reference, for the shell of whoever presses Tab. */
const hostile = ['a;reboot', '$(reboot)', '`reboot`', '-rf', ':files', 'x\ny', 'a b', '~/x'];
const bounds = { timeoutMs: 30_000, maxOutputBytes: 1024 * 1024 };
const launcher = join(import.meta.dirname, '../../../attest-server/cli/assay.mjs');

const isInstalled = (shell: string) =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, shell)));

let server: ApiServer;
let admin: Record<string, string>;

before(async () => {
  const world = emptyWorld();
  for (const name of ['node-1', 'node-2', 'worker-1'])
    world.nodes.set(name, { enrolled: enrolled(name), status: statusOf(name, verdictOf()) });
  world.references.push(referenceOf('workers-2026'), referenceOf('edge-2026'));
  for (const word of hostile) world.references.push(referenceOf(word));
  world.policies.push({
    ...{ digest: '333d'.repeat(16), name: 'site', source: 'site.yaml', length: 0, text: '', came: 'start' },
    ...{ firstAt: now, lastAt: now, endedAt: null, by: null, reason: null },
  });
  world.madeTokens.push(
    { id: 'openopenopen', node: 'node-7', by: 'token:alice', expiresAt: now, usedAt: null },
    { id: 'usedusedused', node: 'node-7', by: 'token:alice', expiresAt: now, usedAt: now },
  );
  server = await startApi(world);
  admin = environmentOf(server, 'admin-token');
  await mkdir(join(server.dir, 'config', 'assay'), { recursive: true });
  const contexts = { home: { server: server.url, tokenFile: '../../admin-token', caFile: server.caFile } };
  await writeFile(join(server.dir, 'config', 'assay', 'config.json'), JSON.stringify({ contexts }));
});
after(() => server.close());

describe('the completion of a word', () => {
  const complete = async (words: readonly string[], env = admin) => {
    const { code, out, err } = await runAssay(['__complete', '--', ...words], { env });
    assert.deepEqual([code, err], [0, '']);
    return out
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t')[0]);
  };

  const states = ['pending', 'trusted', 'untrusted', 'unknown', 'unsupported'];
  for (const [typed, expected] of [
    ['ver', ['verify', 'version']],
    ['policy rollback 3', ['333d333d333d']],
    ['policy show --revision ', ['333d333d333d']],
    ['policy diff 333d333d333d 3', ['333d333d333d']],
    ['policy allow ', []],
    ['get no', ['nodes']],
    ['get node node', ['node-1', 'node-2']],
    ['get nodes node-1 w', ['worker-1']],
    ['describe ', ['node', 'node-1', 'node-2', 'worker-1']],
    ['describe node w', ['worker-1']],
    ['why w', ['worker-1']],
    ['history node-1 ', []],
    ['get nodes --sta', ['--state']],
    ['get nodes --state ', states],
    ['get nodes --state trusted,p', ['trusted,pending']],
    ['get nodes --state=unk', ['--state=unknown']],
    ['get nodes --state = unk', ['unknown']],
    ['get nodes --state =', states],
    ['get nodes -o y', ['yaml']],
    ['get nodes --reason kernel_u', ['kernel_unknown']],
    ['enrol revoke w', ['worker-1']],
    ['reference approve w', ['workers-2026']],
    ['ref approve x --reason w', []],
    ['reference compute --state ', ['staged', 'active']],
    ['reference compute --kernel ', [':files']],
    ['reference diff e', ['edge-2026', ':files']],
    ['boot diff n', ['node-1', 'node-2', ':files']],
    ['eventlog ', [':files']],
    ['join-token revoke ', ['openopenopen']],
    ['join-token create --node w', ['worker-1']],
    ['token create --role o', ['operator']],
    ['completion ', ['bash', 'zsh', 'fish']],
    ['frobnicate ', []],
    ['__', []],
    ['why -- -', []],
  ] as const)
    it(`knows what follows assay ${typed}`, async () => {
      assert.deepEqual(await complete(typed.split(' ')), expected);
    });

  it('knows every command, and no hidden one', async () => {
    const found = await complete(['']);
    for (const word of ['get', 'why', 'status', 'completion']) assert.ok(found.includes(word), word);
    assert.ok(!found.includes('__complete'));
  });

  it('asks the server that the words name', async () => {
    const env = { XDG_CONFIG_HOME: join(server.dir, 'config') };
    assert.deepEqual(await complete(['--context', ''], env), ['home']);
    assert.deepEqual(await complete(['why', 'w'], env), []);
    assert.deepEqual(await complete(['--context', 'home', 'why', 'w'], env), ['worker-1']);
    assert.deepEqual(await complete(['why', '--context=home', 'w'], env), ['worker-1']);
  });

  it('offers no word of a server that a shell would obey', async () => {
    assert.deepEqual(await complete(['reference', 'revoke', '']), ['workers-2026', 'edge-2026']);
  });

  it('answers whatever stands before it, without a word that is no answer', async () => {
    const words = fc.constantFrom(
      ...[
        'get',
        'nodes',
        'describe',
        'boot',
        'diff',
        'reference',
        'compute',
        '--state',
        '--state=',
        '-o',
        '=',
        '--',
        '-',
      ],
      ...[
        '--context',
        '--server=x',
        '',
        ',',
        'help',
        '__complete',
        'constructor',
        '\u001b[31m',
        '--no-headers',
        '-ojson',
      ],
    );
    await fc.assert(
      fc.asyncProperty(fc.array(words, { maxLength: 6 }), async (typed) => {
        const found = await complete(typed, {});
        assert.deepEqual(
          found.filter((word) => word === undefined || word.includes('\u001b')),
          [],
        );
      }),
    );
  });

  it('is silent where there is no server, no right, or no answer', async () => {
    assert.deepEqual(await complete(['why', ''], {}), []);
    assert.deepEqual(await complete(['token', 'revoke', ''], environmentOf(server, 'reader-token')), []);
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = silent.address();
    const port = typeof address === 'object' ? address?.port : 0;
    try {
      assert.deepEqual(
        await complete(['why', ''], { ...admin, ASSAY_SERVER: `https://127.0.0.1:${port}` }),
        [],
      );
    } finally {
      silent.close();
    }
  });
});

describe('the script of a shell', () => {
  let dir = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-shell-'));
    await symlink(launcher, join(dir, 'assay'));
    // The program prints the same script each time.
    for (const shell of ['bash', 'fish']) {
      const { stdout } = await run(join(dir, 'assay'), ['completion', shell], {
        ...bounds,
        env: { ...admin, PATH: path(), HOME: dir },
      });
      await writeFile(join(dir, `completion.${shell}`), stdout);
    }
  });
  after(() => rm(dir, { recursive: true }));

  const path = () => [dir, join(process.execPath, '..'), process.env.PATH ?? ''].join(delimiter);

  /** What bash offers when Tab is pressed behind these words. */
  function pressTab(...words: readonly string[]): Promise<readonly string[]> {
    return pressTabAfter('', ...words);
  }

  /** @param first what bash runs before, once the script is read */
  async function pressTabAfter(first: string, ...words: readonly string[]): Promise<readonly string[]> {
    const script = `
cd '${server.dir}'
source '${dir}/completion.bash'
${first}
complete -p assay | grep -q -- '-F _assay' || exit 3
COMP_WORDS=(assay "$@")
COMP_CWORD=$#
_assay
printf '%s\\n' "${'$'}{COMPREPLY[@]}"
`;
    const { stdout } = await run('bash', ['--norc', '-c', script, 'bash', ...words], {
      ...bounds,
      env: { ...admin, PATH: path(), HOME: dir },
    });
    return stdout.toString('utf8').trim().split('\n').sort();
  }

  it('completes in bash: commands, options, nodes, references and files', async () => {
    assert.deepEqual(await pressTab('wh'), ['whoami', 'why']);
    assert.deepEqual(await pressTab('get', 'nodes', '--sort'), ['--sort-by']);
    assert.deepEqual(await pressTab('why', 'node-'), ['node-1', 'node-2']);
    assert.deepEqual(await pressTab('reference', 'revoke', ''), ['edge-2026', 'workers-2026']);
    assert.deepEqual(await pressTab('verify', 'admin'), ['admin-token']);
    assert.deepEqual(await pressTab('get', 'nodes', '--state', '=', 'tr'), ['trusted']);
  });

  /** What fish offers when Tab is pressed behind these words; the test is skipped where it is not installed. */
  async function pressTabInFish(test: Mocha.Context, typed: string, first = ''): Promise<readonly string[]> {
    if (!isInstalled('fish')) test.skip();
    const script = `
cd '${server.dir}'
source '${dir}/completion.fish'
${first}
complete -C 'assay ${typed}'
`;
    const { stdout } = await run('fish', ['--no-config', '-c', script], {
      ...bounds,
      env: { ...admin, PATH: path(), HOME: dir },
    });
    return firstColumn(stdout.toString('utf8'));
  }

  const firstColumn = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => line.split('\t')[0] ?? '')
      .sort();

  for (const typed of [
    '',
    'wh',
    'get ',
    'get no',
    'ref ',
    'reference comp',
    'get nodes --',
    'get no --sort',
    'get node node-1 --sort',
    'ref list --k',
    'reference compute --name x --ke',
    'describe node node-1 --u',
    '--server',
    'policy --',
  ]) {
    const answered = async () => firstColumn((await runAssay(['__complete', '--', ...typed.split(' ')])).out);

    it(`completes in bash without a process what follows assay ${typed}`, async () => {
      assert.deepEqual(await pressTabAfter('assay() { echo asked; }', ...typed.split(' ')), await answered());
    });

    it(`completes in fish without a process what follows assay ${typed}`, async function () {
      assert.deepEqual(
        await pressTabInFish(this, typed, 'function assay; echo asked; end'),
        await answered(),
      );
    });
  }

  const unknownToScripts = [
    ...[
      'why ',
      'describe ',
      'get nodes --state ',
      'get nodes --state=u',
      'get nodes --state --u',
      'why -- -',
    ],
    ...['--context home get no', 'describe node-1 --u'],
  ];

  it('asks the program where it does not know: values, names, and what stands behind them', async () => {
    for (const typed of [...unknownToScripts, 'frobnicate'])
      assert.deepEqual(await pressTabAfter('assay() { echo asked; }', ...typed.split(' ')), ['asked'], typed);
  });

  it('asks the program in fish where bash does', async function () {
    for (const typed of unknownToScripts)
      assert.deepEqual(
        // It shows what begins as the word does.
        await pressTabInFish(this, typed, 'function assay; echo (commandline -ct)asked; end'),
        [`${typed.split(' ').at(-1)}asked`],
        typed,
      );
  });

  it('completes in fish nodes, references, values and files, too', async function () {
    assert.deepEqual(await pressTabInFish(this, 'why node-'), ['node-1', 'node-2']);
    assert.deepEqual(await pressTabInFish(this, 'reference revoke '), ['edge-2026', 'workers-2026']);
    assert.deepEqual(await pressTabInFish(this, 'get nodes --state=tr'), ['--state=trusted']);
    assert.deepEqual(await pressTabInFish(this, 'verify admin'), ['admin-token']);
  });

  it('asks for everything in fish, once it hears that the program is of another version', async function () {
    const older = "set -g __assay_version 0.0.1; complete -C 'assay why node-' >/dev/null";
    assert.deepEqual(await pressTabInFish(this, 'wh', `${older}; function assay; echo whasked; end`), [
      'whasked',
    ]);
    assert.deepEqual(await pressTabInFish(this, 'wh', older), ['whoami', 'why']);
  });

  it('asks for everything, once it hears that the program is of another version', async () => {
    const older = 'ASSAY_COMPLETION_VERSION=0.0.1; COMP_WORDS=(assay why node-) COMP_CWORD=2; _assay';
    assert.deepEqual(await pressTabAfter(`${older}; assay() { echo asked; }`, 'wh'), ['asked']);
    assert.deepEqual(await pressTabAfter(older, 'wh'), ['whoami', 'why']);
    assert.deepEqual(await pressTabAfter('ASSAY_COMPLETION_VERSION=0.0.1', 'why', 'node-'), [
      'node-1',
      'node-2',
    ]);
  });

  for (const shell of ['bash', 'zsh', 'fish'] as const)
    it(`is taken by ${shell}, where that is installed`, async function () {
      const { out } = await runAssay(['completion', shell]);
      const file = join(dir, `assay.${shell}`);
      await writeFile(file, out);
      if (!isInstalled(shell)) {
        console.log(`      ${shell} is not installed: its script is not read`);
        this.skip();
      }
      await run(shell, ['-n', file], bounds);
    });

  it('is of no other shell', async () => {
    assert.equal((await runAssay(['completion', 'csh'])).code, 2);
  });
});
