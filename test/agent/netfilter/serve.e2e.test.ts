import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { firewall, recordedRulesPath } from '../../../agent/collectors/firewall.ts';
import { askForRules, watchFirewall } from '../../../agent/netfilter/client.ts';
import { runNetfilter } from '../../../agent/netfilter/serve.ts';
import { parseFirewallPart } from '../../../attest-server/wire/firewall.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { programs } from '../../programs.ts';
import { type Namespace, openNamespace, until } from './namespace.ts';

const logger = { info: () => {}, warn: () => {} };
const root = join(import.meta.dirname, '../../..');
const soon = () => AbortSignal.timeout(10_000);

describe('assay-agent netfilter', () => {
  let folder = '';
  let socket = '';
  let stop: AbortController;
  let running: Promise<void>;
  let space: Namespace;

  before(function () {
    // Who is not root opens no namespace by its file.
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-netfilter-'));
    socket = join(folder, 'run/netfilter.sock');
    stop = new AbortController();
    running = Promise.resolve();
    space = await openNamespace();
    await space.sh("nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'");
  });
  afterEach(async () => {
    stop.abort();
    await running.catch(() => {});
    await space[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  async function serve(netns = space.netns): Promise<void> {
    const listening = Promise.withResolvers<void>();
    running = runNetfilter(
      { socket, netns },
      { logger, signal: stop.signal, onListening: () => listening.resolve() },
    );
    running.catch(listening.reject);
    await listening.promise;
  }

  it('answers with the part, on a socket for its group alone, which is gone at the end', async () => {
    await serve();
    const part = parseFirewallPart(await askForRules(socket, soon()));
    assert.deepEqual(
      part.nft?.map((member) => Object.keys(member)),
      [['metainfo'], ['table'], ['chain']],
    );
    assert.equal((await lstat(socket)).mode & 0o777, 0o660);
    assert.equal((await lstat(join(folder, 'run'))).mode & 0o777, 0o750);
    stop.abort();
    await running;
    assert.deepEqual(await readdir(join(folder, 'run')), ['netfilter.sock.lock']);
  });

  it('tells each client that the rules moved, and answers many at once', async () => {
    await serve();
    let moved = 0;
    const watching = watchFirewall(
      socket,
      () => {
        moved++;
      },
      stop.signal,
      logger,
    );
    const answers = await Promise.all(Array.from({ length: 8 }, () => askForRules(socket, soon())));
    assert.ok(answers.every((bytes) => answers[0]?.equals(bytes)));
    await space.sh('nft add rule inet t c tcp dport 22 accept');
    await until(() => moved === 1, 'moved');
    assert.match((await askForRules(socket, soon())).toString(), /"right":22/);
    stop.abort();
    await watching;
    assert.equal(moved, 1);
  });

  it('says which addresses are the node’s own to a server that takes it, and to no other', async () => {
    await serve();
    const membersOf = async (local: boolean) => {
      const found = await firewall(socket).read('/', soon(), { local });
      assert.ok(Buffer.isBuffer(found));
      return Object.keys(JSON.parse(found.toString('utf8')));
    };
    assert.deepEqual(await membersOf(true), ['version', 'nft', 'iptables', 'legacy', 'local', 'owned']);
    assert.deepEqual(await membersOf(false), ['version', 'nft', 'iptables', 'legacy', 'owned']);
  });

  it('says a fault, and no rules, where they cannot be read', async () => {
    await serve('/proc/1/ns/none');
    await assert.rejects(askForRules(socket, soon()), { name: 'NetfilterFault', code: 'namespace_gone' });
    const found = await firewall(socket).read('/', soon());
    assert.ok(found instanceof Unavailable);
    assert.match(found.cause, /^namespace_gone: /);
  });

  it('is watched again after it was gone, and what moved meanwhile is told', async () => {
    await serve();
    let moved = 0;
    const end = new AbortController();
    const watching = watchFirewall(socket, () => moved++, end.signal, logger);
    await askForRules(socket, soon());
    stop.abort();
    await running;
    stop = new AbortController();
    await serve();
    await until(() => moved >= 1, 'told', 20_000);
    end.abort();
    await watching;
  }).timeout(40_000);

  for (const [what, bytes] of [
    ['no line', Buffer.alloc(100, 97)],
    ['another request', Buffer.from('write\n')],
    ['two requests at once', Buffer.from('read\nread\n')],
    ['any bytes', Buffer.from([0, 255, 10, 10, 0])],
  ] as const)
    it(`ends the connection of who sends ${what}, and answers others`, async () => {
      await serve();
      const client = connect(socket);
      client.on('error', () => {});
      client.write(bytes);
      await once(client.resume(), 'close');
      assert.ok((await askForRules(socket, soon())).length > 0);
    });

  for (const [what, prepare] of [
    ['others may write its folder', async (run: string) => chmod(run, 0o770)],
    [
      'its folder is a link',
      async (run: string) => {
        await rm(run, { recursive: true });
        await mkdir(`${run}-other`);
        await symlink(`${run}-other`, run);
      },
    ],
    ['something else is in its place', async (run: string) => writeFile(join(run, 'netfilter.sock'), '')],
  ] as const)
    it(`does not start where ${what} (row 74)`, async () => {
      const run = join(folder, 'run');
      await mkdir(run, { mode: 0o750 });
      await prepare(run);
      await assert.rejects(serve(), { code: 'netfilter' });
    });

  it('does not start beside another one', async () => {
    await serve();
    await assert.rejects(runNetfilter({ socket, netns: space.netns }, { logger, signal: stop.signal }), {
      code: 'netfilter',
    });
  });

  it('runs as a program with the rights of its unit alone, and takes the place of one that was killed', async () => {
    await space.sh(
      'iptables-nft -P INPUT DROP; iptables-legacy -P INPUT DROP; ip6tables-legacy -P INPUT DROP',
    );
    const unit = await readFile(join(root, 'manifests/host/assay-netfilter.service'), 'utf8');
    const [, given = ''] = /^CapabilityBoundingSet=(.*)$/m.exec(unit) ?? [];
    const rights = ['-all', ...given.split(' ').map((name) => `+${name.slice('CAP_'.length).toLowerCase()}`)];
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const program = start(
        'nsenter',
        [
          ...[
            `--net=${space.netns}`,
            '--',
            'setpriv',
            `--bounding-set=${rights.join()}`,
            '--no-new-privs',
            '--',
          ],
          ...[process.execPath, programs['assay-agent'], 'netfilter', '--socket', socket],
        ],
        { stdio: ['ignore', 'ignore', 'pipe'] },
      );
      const closed = once(program, 'close');
      let said = '';
      program.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      await until(() => said.includes('"listens"'), 'it listens', 20_000);
      const part = parseFirewallPart(await askForRules(socket, soon()));
      assert.ok(part.nft !== null && part.iptables.ip !== null && part.legacy.ip !== null);
      assert.ok(part.legacy.ip6 !== null);
      const hears = async () => {
        await space.sh('nft add rule inet t c counter');
        return said.includes('"moved"');
      };
      await until(hears, 'it hears of a rule', 20_000);
      // Else it did not hear, but looked.
      assert.doesNotMatch(said, /"level":"warn"/);
      program.kill(signal);
      assert.deepEqual(await closed, signal === 'SIGKILL' ? [null, 'SIGKILL'] : [0, null]);
    }
  }).timeout(60_000);
});

describe('the collector of the firewall', () => {
  let folder = '';
  let server: Server | null = null;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-firewall-'));
  });
  afterEach(async () => {
    server?.close();
    server = null;
    await rm(folder, { recursive: true });
  });

  async function causeBy(answer: Buffer | null): Promise<string> {
    const path = join(folder, 'socket');
    server = createServer((client) => {
      client.on('error', () => {});
      if (answer !== null) client.end(answer);
    }).listen(path);
    await once(server, 'listening');
    const found = await firewall(path).read('/', AbortSignal.timeout(answer === null ? 200 : 5_000));
    return found instanceof Unavailable ? found.cause : `a part: ${found}`;
  }

  const part = '{"version":1,"nft":[],"iptables":{},"legacy":{},"owned":[]}';
  for (const [what, answer, cause] of [
    ['is a fault', 'fault locked by somebody\n', /^locked: by somebody$/],
    ['is a fault of another version', 'fault new_code x\n', /^failed: x$/],
    ['is larger than a server takes', `rules ${limits.parts.firewall + 1}\n`, /^too_large: /],
    ['says a size that is none', 'rules -1\n', /^malformed: /],
    ['ends too soon', `rules ${part.length + 1}\n${part}`, /^unreachable: /],
    ['goes on', `rules ${part.length}\n${part}x`, /^malformed: /],
    ['is no JSON', 'rules 1\nx', /^malformed: /],
    ['is another JSON', 'rules 2\n[]', /^malformed: /],
    ['has no line', 'x'.repeat(5_000), /^malformed: /],
    ['is nothing', '', /^unreachable: /],
    ['is garbage', '\0\xff\n\n', /^malformed: /],
  ] as const)
    it(`has a cause, and no rules, where the answer ${what}`, async () => {
      assert.match(await causeBy(Buffer.from(answer, 'latin1')), cause);
    });

  it('has a cause where nobody answers in time, and where nobody is there', async () => {
    assert.match(await causeBy(null), /^timeout: /);
    const found = await firewall(join(folder, 'none')).read('/', soon());
    assert.ok(found instanceof Unavailable);
    assert.match(found.cause, /^unreachable: /);
  });

  it('takes the part that follows events', async () => {
    assert.equal(
      await causeBy(Buffer.from(`moved\nmoved\nrules ${part.length}\n${part}`)),
      `a part: ${part}`,
    );
  });

  it('without a socket reads no rules of this kernel for another root, but what is recorded there', async () => {
    assert.ok((await firewall(null).read(folder, soon())) instanceof Unavailable);
    await mkdir(join(folder, 'run/assay/netfilter'), { recursive: true });
    await writeFile(join(folder, recordedRulesPath), part);
    assert.deepEqual(await firewall(null).read(folder, soon()), Buffer.from(part));
  });
});
