import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { runAssay } from './cli-fixture.ts';

const log = recordedLog('debian13-shim-grub');
const changed = tamper(log, 'kernel');
const node = 'node-1';

describe('what `assay why` says to do', () => {
  let world: TestServer;
  let peer: Peer & { readonly hello: string };
  let cwd: string;
  const tpm = forgedTpm();
  let clock = 1_000_000_000n;

  before(async () => {
    cwd = mkdtempSync(join(tmpdir(), 'assay-why-'));
    world = await startTestServer({ challengeEvery: 0.05 });
    await world.pin(node, tpm.ekDigest);
    peer = await introduce(world, tpm, node);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(cwd, { recursive: true });
  });

  /** Runs one command, given as a person would type it. */
  async function type(line: string) {
    const words = [...line.trim().matchAll(/"([^"]*)"|(\S+)/g)].map(
      ([, quoted, word]) => quoted ?? word ?? '',
    );
    assert.equal(words.shift(), 'assay', line);
    return runAssay(words, { env: world.env(), cwd, now: Date.now });
  }
  const told = async () => JSON.parse((await type(`assay why ${node} -o json`)).out);
  const commandsOf = (next: string) => next.split('\n').filter((line) => line.startsWith('  '));

  async function answer(bootLog: Buffer, resetCount: number): Promise<string> {
    clock += 1_000n;
    const challenge = await peer.challenge();
    if (!challenge.holds.includes(hash('sha256', bootLog, 'hex'))) peer.send(binaryFrame('part', bootLog));
    const { hello, channel } = peer;
    const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
    const quoted = { pcrs: { sha256: replayedValues(bootLog, 'sha256') }, resetCount, clock };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, quoted);
    // By a clock that is late: of the second boot that is before the last proof of the first one.
    const host = { bootTime: Math.floor(Date.now() / 1000) - 30 };
    peer.send(tpm.evidence(challenge, { node, hello, channel, bootId, bootLog, host }, { quote }));
    return (await peer.verdict()).state;
  }

  it('makes a new node trusted, by the commands that it prints', async () => {
    assert.equal(await answer(log, 7), 'pending');
    const [reason] = (await told()).reasons;
    assert.equal(reason.code, 'no_reference');
    const [capture = ''] = commandsOf(reason.next);
    assert.match(capture, / reference capture node-1 --name node-1-\d{8}-[0-9a-f]{6}$/);
    assert.equal((await type(capture)).code, 0);
    assert.equal(await answer(log, 7), 'trusted');
  });

  it('works as it stands after many more verdicts, and exports the evidence that it names', async () => {
    assert.equal(await answer(changed, 8), 'untrusted');
    const { reasons, evidence } = await told();
    const commands = commandsOf(reasons[0].next);
    // Each of these takes the place of the latest evidence.
    for (let i = 0; i < 3; i++) {
      assert.equal(await answer(changed, 8), 'untrusted');
      await world.store.verdicts.settled();
    }
    assert.equal((await told()).evidence, evidence);
    const codes = new Map<string, number>();
    for (const line of commands) {
      const step = /(?<=^ {2}assay )(?:reference )?\S+/.exec(line)?.[0] ?? '';
      codes.set(step, (await type(step === 'reference approve' ? `${line} --yes` : line)).code);
    }
    assert.deepEqual(Object.fromEntries(codes), {
      boot: 10,
      'reference capture': 0,
      'reference approve': 0,
      bundle: 0,
    });
    const bundle = parseBundle(readFileSync(join(cwd, `${node}.json`), 'utf8'));
    assert.equal(bundle.parts.boot?.digest, hash('sha256', changed, 'hex'));
    assert.equal(await answer(changed, 8), 'trusted');
  });

  it('takes twelve digits of what it shows, of the evidence or of the log', async () => {
    const { out } = await type(`assay history ${node} -o json`);
    const { items } = JSON.parse(out);
    const bad = items.find(({ state }: { state: string }) => state === 'untrusted');
    for (const digest of [bad.evidence, bad.reasons[0].evidence.bundle, hash('sha256', changed, 'hex')]) {
      const short = digest.slice(0, 12);
      assert.equal((await type(`assay bundle ${node} --evidence ${short}`)).code, 0);
      assert.equal((await type(`assay boot diff ${node}@${short} ${node}`)).code, 0);
    }
    assert.equal((await type(`assay bundle ${node} --evidence ${'0'.repeat(12)}`)).code, 1);
  });

  it('shows when a boot began by the node’s word, and never before the last proof of the boot before', async () => {
    const { bootedAt, bootSeenAt } = JSON.parse((await type(`assay get nodes ${node} -o json`)).out);
    const rows = JSON.parse((await type(`assay history ${node} -o json`)).out).items;
    const first = rows.findLast(({ state }: { state: string }) => state === 'trusted');
    assert.ok(Date.parse(bootedAt) >= Date.parse(first.at), `${bootedAt} ${first.at}`);
    assert.ok(Date.parse(bootedAt) <= Date.parse(bootSeenAt), `${bootedAt} ${bootSeenAt}`);
  });

  it('compares with the boot before, not with an earlier verdict on the one that runs', async () => {
    const { boots } = JSON.parse((await type(`assay boot diff ${node} -o json`)).out);
    const rows = JSON.parse((await type(`assay history ${node} -o json`)).out).items;
    const trusted = rows.filter(({ state }: { state: string }) => state === 'trusted');
    assert.equal(boots[0], `${node}@${trusted[1].evidence.slice(0, 12)}`);
  });
});
