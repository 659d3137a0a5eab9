import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import {
  type Collector,
  type FoundSupplement,
  type SupplementCollector,
  Unavailable,
} from '../../../agent/collectors/collector.ts';
import { imaLogPath } from '../../../agent/collectors/ima-log.ts';
import { collectors } from '../../../agent/collectors/list.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { measuredEntry } from '../../../swtpm-fixtures/ima-list.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedList, recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { agentsOf, ekDigestOf, startAgent } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const boot = 'debian13-shim-grub';
const node = 'node-1';
/** What is shorter stands in the answer's own document, and comes again. */
const leastPiece = 32 * 1024;
/** As a kernel measures a system that starts many programs. */
const ran = Buffer.concat([
  recordedList(boot),
  ...Array.from({ length: 6_000 }, (_, index) => {
    const name = `/usr/lib/a-package-of-some-length/program-${index}`;
    return measuredEntry({ digest: hash('sha256', name, 'buffer'), name }).bytes;
  }),
]);

/** Each test goes on where the one before it ended. */
describe('a real agent whose kernel has a long list', () => {
  let folder = '';
  let world: TestServer;
  let machine: FixtureMachine;
  let agent: Awaited<ReturnType<typeof startAgent>>;
  /** What it read for each answer. */
  let read: FoundSupplement[] = [];
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-long-list-'));
    const policy = join(folder, 'policy.yaml');
    await writeFile(
      policy,
      (await readFile(bootPolicyFile, 'utf8')).replace(
        '[identity, boot]\n',
        '[identity, boot]\n    runtime: {}\n',
      ),
    );
    world = await startTestServer({ policy });
    machine = await startMachine({ log: recordedLog(boot), ran });
    await world.pin(node, await ekDigestOf(machine));
    agent = await startAgent(machine, node, agentsOf(world), collectors(null).map(noting));
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  function noting(collector: Collector): Collector {
    if (collector.supplement !== 'ima') return collector;
    const noted: SupplementCollector = {
      ...collector,
      async read(sysroot, signal, asked) {
        const found = await collector.read(sysroot, signal, asked);
        if (found !== null && !(found instanceof Unavailable)) read.push(found);
        return found;
      },
    };
    return noted;
  }

  const size = async () => (await stat(join(machine.sysroot, imaLogPath))).size;
  const bytesOf = ({ pieces }: FoundSupplement) => pieces.reduce((sum, { length }) => sum + length, 0);
  const verdicts = () => agent.states.filter(({ phase }) => phase === 'verdict').length;
  /** From where to where each answer brought it, until the next verdict. */
  async function sentUntilVerdict(act: () => unknown): Promise<readonly (readonly [number, number])[]> {
    read = [];
    const before = verdicts();
    await act();
    await world.until(() => verdicts() > before, 30_000);
    return read.map((found) => [found.from, found.from + bytesOf(found)]);
  }

  it('sends it in answers that grow, since nothing is proven before the first, and one verdict has the whole', async () => {
    const [whole, first] = [await size(), limits.parts.ima];
    await world.until(() => verdicts() > 0, 30_000);
    assert.deepEqual(
      read.map((found) => [found.from, bytesOf(found), found.more]),
      [
        // What its loader read is asked for before anything is judged.
        [0, first, true],
        [0, 2 * first, true],
        [2 * first, whole - 2 * first, false],
      ],
    );
    assert.equal(verdicts(), 1);
    const codes = world.verdicts[0]?.verdict.reasons.map(({ code }) => code);
    assert.equal(codes?.includes('no_reference'), true);
    // The list proves what the kernel found.
    assert.equal(codes?.includes('facts_unavailable'), false);
  });

  it('sends what was added, and nothing else of it', async () => {
    const before = await size();
    await machine.run('/tmp/miner', 'mine');
    const after = await size();
    assert.deepEqual(await sentUntilVerdict(() => world.server.challengeNow(node)), [[before, after]]);
    assert.deepEqual(await sentUntilVerdict(() => world.server.challengeNow(node)), [[after, after]]);
  });

  it('goes on from what the server keeps in pieces, where that starts again', async () => {
    const [[from, to] = [], ...others] = await sentUntilVerdict(() => world.restart());
    assert.deepEqual([others, to], [[], await size()]);
    assert(from !== undefined && to !== undefined && to - from < leastPiece, `from ${from} to ${to}`);
  });

  it('sends it from its begin after another boot', async () => {
    await machine.powerCycle(recordedLog(boot));
    const [whole, first] = [await size(), limits.parts.ima];
    assert.deepEqual(await sentUntilVerdict(() => world.server.challengeNow(node)), [
      [0, first],
      [first, 3 * first],
      [3 * first, whole],
    ]);
  });
});
