import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import type { CliIo } from '../../../attest-server/cli/io.ts';
import { nodeOrders } from '../../../attest-server/cli/node-order.ts';
import { HttpProblem } from '../../../attest-server/http/problem.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from '../http/api-fixture.ts';
import { environmentOf, type Ran, runAssay } from './cli-fixture.ts';

let world: World;
let server: ApiServer;
let env: Record<string, string>;

function made(): World {
  const world = emptyWorld();
  set(world, 'node-1', 'trusted', 9000);
  set(world, 'node-2', 'untrusted', 1000, 'kernel_unknown', 'secureboot_off');
  set(world, 'node-3', 'pending', 5000, 'no_reference');
  return world;
}

function set(world: World, name: string, state: NodeState, age = 0, ...codes: readonly ReasonCode[]): void {
  world.nodes.set(name, {
    enrolled: { ...enrolled(name), enrolledAt: now - age },
    status: statusOf(name, verdictOf({ state, reasons: codes.map((code) => reasonOf(code)) }), {
      verifiedAt: now - age,
    }),
  });
}

const assay = (line: string, change: Partial<CliIo> = {}) => runAssay(line.split(' '), { env, ...change });
const namesIn = ({ out }: Ran) => out.split('\n').flatMap((line) => line.match(/^node-\d/)?.[0] ?? []);

describe('get nodes', () => {
  beforeEach(async () => {
    world = made();
    server = await startApi(world);
    env = environmentOf(server, 'reader-token');
  });
  afterEach(() => server.close());

  for (const [line, expected] of [
    ['get nodes --state untrusted', ['node-2']],
    ['get nodes --state untrusted,pending', ['node-2', 'node-3']],
    ['get nodes --state untrusted --state trusted', ['node-1', 'node-2']],
    ['get nodes --reason secureboot_off', ['node-2']],
    ['get nodes --group workers --state pending', ['node-3']],
    ['get nodes --sort-by state', ['node-2', 'node-3', 'node-1']],
    ['get nodes --sort-by age', ['node-2', 'node-3', 'node-1']],
    ['get nodes --sort-by verified', ['node-2', 'node-3', 'node-1']],
    ['get nodes --sort-by reason', ['node-2', 'node-3', 'node-1']],
    ['get no node-3 node/node-1 node-3', ['node-1', 'node-3']],
    ['get nodes node-3 node-1 --sort-by age', ['node-3', 'node-1']],
  ] as const)
    it(`shows ${expected.join(', ')} for ${line}`, async () => {
      const ran = await assay(line);
      assert.deepEqual([ran.code, namesIn(ran)], [0, expected], ran.err);
    });

  it('asks the server for what it shows, and for no more', async () => {
    const before = world.answered.length;
    await assay('get nodes --state untrusted');
    assert.deepEqual(
      world.answered.slice(before).map(({ route }) => route),
      ['/v1/nodes'],
    );
  });

  for (const [line, says] of [
    ['get nodes --state trustd', /--state: trustd is no state; did you mean trusted\?/],
    ['get nodes --reason kernel_unkown', /did you mean kernel_unknown\?/],
    ['get nodes --group wrokers', /did you mean workers\?/],
    ['get nodes --selector zone=a', /no labels are known, because this server is not in a cluster/],
    ['get nodes --selector zone in (a)', /is not a label/],
    ['get nodes --sort-by nam', /did you mean name\?/],
    ['get nodes node-1 --state trusted', /--state and names/],
    ['get nodes --wait trusted --watch', /--watch and --wait/],
    ['get nodes --wait truste', /did you mean trusted\?/],
    ['get nodes --watch --interval 0s', /not between 1s and 1d/],
    // A timer of more than 24.8 days fires at once, again and again.
    ['get nodes --watch --interval 30d', /not between 1s and 1d/],
  ] as const)
    it(`ends with 2 for ${line}, and says what is meant`, async () => {
      const args = line.includes(' in ') ? ['get', 'nodes', '--selector', 'zone in (a)'] : line.split(' ');
      const { code, out, err } = await runAssay(args, { env });
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, says);
    });

  it('counts on standard error, so that a script that cuts the table meets no line that is no node', async () => {
    const { out, err } = await assay('get nodes');
    assert.equal(err, '3 nodes: 1 trusted, 1 untrusted, 1 pending\n');
    assert.equal(out.trim().split('\n').length, 4);
    assert.equal((await assay('get nodes --state unknown')).err, 'no nodes\n');
    for (const line of ['--no-headers', '-o json', '-o name', 'node-1'])
      assert.equal((await assay(`get nodes ${line}`)).err, '', line);
  });

  it('says where to look if many fail by one code, and where if a change of ours turned them', async () => {
    const hint = async () => (await assay('get nodes')).err.split('\n').slice(1, -1);
    set(world, 'node-4', 'untrusted', 0, 'kernel_unknown');
    assert.deepEqual(await hint(), []);
    set(world, 'node-5', 'untrusted', 0, 'kernel_unknown');
    for (const name of ['node-6', 'node-7', 'node-8']) set(world, name, 'unknown', 0, 'evidence_overdue');
    assert.deepEqual(await hint(), [
      '3 nodes are untrusted by kernel_unknown. What they have in common, and the command for all of them:',
      '  assay reference candidates',
    ]);
    assert.equal((await assay('get nodes --no-headers')).err, '');
  });

  it('shows no heading with --no-headers, and colours each line as before', async () => {
    const { out } = await assay('get nodes --no-headers', { colour: true });
    assert.deepEqual(
      out
        .trim()
        .split('\n')
        .map((line) => [line.slice(0, 6), line.includes('\u001b[')]),
      [
        ['node-1', true],
        ['node-2', true],
        ['node-3', true],
      ],
    );
  });

  it('shows the nodes that there are, and ends with 1 where one of them is missing', async () => {
    for (const line of ['get nodes', 'why', 'describe']) {
      const ran = await assay(`${line} node-1 node-8 node-9`);
      assert.deepEqual([ran.code, /node-8, node-9/.test(ran.err)], [1, true], line);
      assert.match(ran.out, /node-1/);
    }
    const { code, out } = await assay('get nodes node-9 -o json');
    assert.deepEqual([code, out], [1, '']);
  });

  it('gives one node as an object and several as a list', async () => {
    assert.equal(JSON.parse((await assay('get nodes node-1 -o json')).out).name, 'node-1');
    for (const line of ['get nodes', 'why', 'describe']) {
      const { items } = JSON.parse((await assay(`${line} node-1 node-2 -o json`)).out);
      assert.deepEqual(
        items.map(({ name }: { name: string }) => name),
        ['node-1', 'node-2'],
        line,
      );
    }
  });

  for (const [line, code] of [
    ['why node-1 node-3', 11],
    ['why node-1 node-3 node-2', 10],
    ['describe node-1', 0],
    ['describe node/node-2', 10],
    ['describe nodes node-1 node-3', 11],
    ['describe', 2],
    ['why', 2],
  ] as const)
    it(`ends with ${code}, by the worst of them, for ${line}`, async () => {
      assert.equal((await assay(line)).code, code);
    });

  it('knows in its help every order', async () => {
    const { out } = await assay('get nodes --help');
    for (const order of nodeOrders) assert.ok(out.includes(order), order);
  });
});

/** Its own world, whose server is asked each second: watches wait for that beside one another. */
function watched() {
  const world = made();
  const controller = new AbortController();
  let server: ApiServer | null = null;
  let [out, err] = ['', ''];
  const closeServer = async () => {
    const closing = server?.close();
    server = null;
    await closing;
  };
  return {
    world,
    set: (name: string, state: NodeState, age = 0, ...codes: readonly ReasonCode[]) =>
      set(world, name, state, age, ...codes),
    /** @param more of its environment */
    watch(line: string, more: Readonly<Record<string, string>> = {}) {
      const run = async () => {
        server = await startApi(world);
        const { code } = await runAssay(`get nodes --watch --interval 1s ${line}`.trim().split(' '), {
          env: { ...environmentOf(server, 'reader-token'), ...more },
          interrupted: () => controller.signal,
          out: (text) => {
            out += text;
          },
          err: (text) => {
            err += text;
          },
        });
        return code;
      };
      return { done: run(), out: () => out, err: () => err, stop: () => controller.abort() };
    },
    async until(is: () => boolean) {
      for (const end = performance.now() + 30_000; !is(); ) {
        assert.ok(performance.now() < end, `${out}\n${err}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async close() {
      controller.abort();
      await closeServer();
    },
    closeServer,
  };
}

const watches: Readonly<Record<string, (its: ReturnType<typeof watched>) => Promise<void>>> = {
  async 'shows the table, then a line for each change, and ends with 0 by Ctrl-C'({ set, watch, until }) {
    const { done, out, stop } = watch('');
    await until(() => out().split('\n').length === 5);
    set('node-3', 'trusted');
    set('node-4', 'pending', 0, 'no_reference');
    await until(() => out().split('\n').length === 7);
    const lines = out().trimEnd().split('\n').slice(4);
    assert.deepEqual(
      lines.map((line) => line.split(/ {2,}/).slice(0, 2)),
      [
        ['node-3', 'trusted 2/6'],
        ['node-4', 'pending'],
      ],
    );
    stop();
    assert.equal(await done, 0);
  },

  async 'ends by itself once the time is over that was given'({ watch }) {
    assert.equal(await watch('--timeout 1s').done, 0);
  },

  async 'is silent while only the time of the verdict moves'({ world, set, watch, until }) {
    const { out } = watch('');
    await until(() => out() !== '');
    const before = out();
    const asked = world.answered.length;
    set('node-1', 'trusted', 1);
    await until(() => world.answered.length >= asked + 2);
    assert.equal(out(), before);
  },

  async 'prints one object a line with -o json'({ set, watch, until }) {
    const { out } = watch('-o json');
    await until(() => out().split('\n').length === 4);
    set('node-1', 'untrusted', 0, 'kernel_unknown');
    await until(() => out().split('\n').length === 5);
    const objects = out()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      objects.map(({ name }) => name),
      ['node-1', 'node-2', 'node-3', 'node-1'],
    );
    assert.equal(objects.at(-1).state, 'untrusted');
  },

  async 'shows a node that left the filter as it is now, and says that one is no node any more'({
    world,
    set,
    watch,
    until,
  }) {
    const { out, err } = watch('--state untrusted,pending --no-headers');
    await until(() => out().split('\n').length === 3);
    set('node-2', 'trusted');
    await until(() => /node-2 +trusted/.test(out()));
    world.nodes.delete('node-3');
    await until(() => /node-3 is no longer a node/.test(err()));
    assert.equal(out().trimEnd().split('\n').length, 3);
  },

  async 'survives a server that goes away, says so once, and goes on when it is back'({
    world,
    set,
    watch,
    until,
  }) {
    const { out, err } = watch('');
    await until(() => out() !== '');
    world.failing = true;
    await until(() => /trying again/.test(err()));
    const asked = world.answered.length;
    await until(() => world.answered.length >= asked + 2);
    assert.equal(err().match(/trying again/g)?.length, 1);
    world.failing = false;
    set('node-1', 'unknown', 0, 'evidence_overdue');
    await until(() => /node-1 +unknown/.test(out()));
    assert.match(err(), /answers again/);
  },

  async 'survives a server to which nobody can connect'({ watch, until, closeServer }) {
    const { done, out, err, stop } = watch('');
    await until(() => out() !== '');
    await closeServer();
    await until(() => /cannot be reached.*trying again/.test(err()));
    stop();
    assert.equal(await done, 0);
  },

  async 'looks by itself where the server has no stream of events'({ world, set, watch, until }) {
    world.earlier = true;
    const { out } = watch('');
    await until(() => world.answered.some(({ status }) => status === 404));
    set('node-3', 'trusted');
    await until(() => /node-3 +trusted/.test(out()));
  },

  async 'looks by itself where others have all streams'({ world, set, watch, until }) {
    world.listen = async () => {
      throw new HttpProblem(429, '200 programs listen already');
    };
    const { out, err } = watch('');
    await until(() => world.answered.some(({ status }) => status === 429));
    set('node-3', 'trusted');
    await until(() => /node-3 +trusted/.test(out()));
    assert.equal(err(), '');
  },

  async 'ends with 1 where the token counts no longer'({ world, watch, until }) {
    const { done, out, err } = watch('');
    await until(() => out() !== '');
    world.revoked = true;
    assert.equal(await done, 1);
    assert.match(err(), /refused the token/);
  },

  async 'ends at once by Ctrl-C while a question is under way'({ world, watch, until }) {
    const { done, out, stop } = watch('');
    await until(() => out() !== '');
    world.hanging = true;
    const asked = world.hung;
    await until(() => world.hung > asked);
    stop();
    assert.equal(await done, 0);
  },

  async 'ends where the server cannot be asked in the first place'({ watch }) {
    assert.equal(await watch('', { ASSAY_SERVER: 'https://localhost:1' }).done, 1);
  },
};

describe('assay events', () => {
  it('says that an older server has none', async () => {
    const its = watched();
    its.world.earlier = true;
    const server = await startApi(its.world);
    const { code, err } = await runAssay(['events'], { env: environmentOf(server, 'reader-token') });
    await server.close();
    assert.equal(code, 1);
    assert.match(err, /does not know \/v1\/events\n.*same version as the server/);
  });
});

describe('get nodes --watch', () => {
  const looks = new Map<string, Promise<void>>();
  before(() => {
    for (const [what, look] of Object.entries(watches)) {
      const its = watched();
      const looked = look(its).finally(() => its.close());
      // Its own test tells of it.
      looked.catch(() => {});
      looks.set(what, looked);
    }
  });
  after(() => Promise.allSettled(looks.values()));

  for (const what of Object.keys(watches)) it(what, () => looks.get(what));
});
