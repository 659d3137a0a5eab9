import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { keptReferencesHead } from '../../../attest-server/evidence/kept-references.ts';
import { namingBlobs } from '../../../attest-server/evidence/named-digests.ts';
import { eraseOldEvidence } from '../../../attest-server/evidence/retention.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { imaIndex } from '../../../attest-server/wire/ima-pieces.ts';
import { fileList } from '../../../attest-server/wire/loader-files.ts';
import { madeEvent, madeNode, madeRecord } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

const day = 86_400_000;
const now = 1_000 * day;
const [one, two] = [madeNode('node-1'), madeNode('node-2')];
/** As much of an answer as tells what it names. */
const answerNaming = (at: number, names: readonly string[], node: string) =>
  Buffer.from(
    JSON.stringify({
      named: Object.fromEntries(names.map((name) => [name, blob(name).digest])),
      parts: {},
      context: { at: new Date(at).toISOString(), node },
    }),
  );
const blob = (text: string) => ({ digest: hash('sha256', text, 'hex'), bytes: Buffer.from(text) });

describe('what kept evidence shares', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    for (const node of [one, two]) await store.enrolment.enrol(node, madeEvent('enrol', node.name));
  });
  afterEach(() => store[Symbol.asyncDispose]());

  /** An answer that names these blobs; those in `sent` come with it, the others are there already. */
  async function record(
    daysAgo: number,
    names: readonly string[],
    {
      node = one,
      transition = false,
      sent = names,
      bootLog = null as string | null,
      answer = answerNaming(now - daysAgo * day, names, node.name),
    } = {},
  ): Promise<void> {
    const at = now - daysAgo * day;
    const made = madeRecord(node, at, undefined, answer);
    await store.verdicts.recordChange({
      ...made,
      status: { ...made.status, parts: bootLog === null ? {} : { boot: blob(bootLog).digest } },
      evidence: [...made.evidence, ...sent.map(blob)],
      history: made.history.map((row) => ({ ...row, transition })),
    });
  }

  const erase = () =>
    eraseOldEvidence(
      {
        store: store.evidence,
        now: () => now,
        evidenceFor: 30 * day,
        transitionEvidenceFor: 400 * day,
        fault: (error) => assert.fail(String(error)),
      },
      new AbortController().signal,
    );
  const kept = async (...names: readonly string[]) => {
    const found = await Promise.all(names.map((name) => store.evidence.read(blob(name).digest)));
    return names.filter((_, index) => found[index] !== null);
  };
  const erasures = async () =>
    (await store.audit.entries({ limit: 1_000 })).filter(
      ({ action, subject }) => action === 'evidence_erased' && subject === 'shared',
    );

  it('goes with the last answer that names it, and the audit log names it', async () => {
    await record(100, ['old log', 'policy']);
    await record(20, ['new log', 'policy']);
    await record(1, ['new log', 'policy']);
    await erase();
    assert.deepEqual(await kept('old log', 'new log', 'policy'), ['new log', 'policy']);
    const [entry, ...more] = await erasures();
    assert.deepEqual(more, []);
    assert.deepEqual(
      [entry?.code, entry?.actor, entry?.detail],
      ['evidence_erased', 'server', { count: 1, digests: blob('old log').digest }],
    );
    await erase();
    assert.equal((await erasures()).length, 1);
  });

  it('stays while another node names it', async () => {
    await record(100, ['policy', 'log']);
    await record(1, ['policy']);
    await record(40, ['log'], { node: two });
    await record(20, ['log'], { node: two });
    await erase();
    assert.deepEqual(await kept('policy', 'log'), ['policy', 'log']);
  });

  it('stays while it is named by the evidence of a change of state, or of a latest verdict', async () => {
    await record(390, ['changed'], { transition: true });
    await record(380, ['between']);
    await record(1, ['new']);
    await record(500, ['latest'], { node: two });
    await erase();
    assert.deepEqual(await kept('changed', 'between', 'new', 'latest'), ['changed', 'new', 'latest']);
  });

  it('stays where it is the boot log of a node that sent it once, long ago', async () => {
    await record(100, ['log'], { bootLog: 'log' });
    for (const daysAgo of [60, 31, 20, 1]) await record(daysAgo, ['log'], { bootLog: 'log', sent: [] });
    await erase();
    assert.deepEqual(await kept('log'), ['log']);
    // Also for a node that is silent, and whose answer names none.
    await record(300, ['other'], { node: two, bootLog: 'other' });
    await record(200, [], { node: two, bootLog: 'other' });
    await erase();
    assert.deepEqual(await kept('other'), ['other']);
  });

  it('stays where it is a file of a loader, while a list that is kept names it', async () => {
    const listOf = (...names: readonly string[]) =>
      fileList(names.map((name) => blob(name).digest)).toString();
    const [old, lasting] = [listOf('old font', 'font'), listOf('font', 'grub.cfg')];
    await record(100, [old], { sent: [old, 'old font', 'font'] });
    await record(90, [lasting], { sent: [lasting, 'font', 'grub.cfg'], node: two });
    await record(1, []);
    for (const daysAgo of [60, 20]) await record(daysAgo, [lasting], { node: two });
    await erase();
    assert.deepEqual(await kept(old, lasting, 'old font', 'font', 'grub.cfg'), [lasting, 'font', 'grub.cfg']);
  });

  it("stays where it is a piece of IMA's list, while an index that is kept names it", async () => {
    const indexOf = (...names: readonly string[]) =>
      imaIndex(names.map((name) => ({ digest: blob(name).digest, bytes: name.length }))).toString();
    const [old, lasting] = [indexOf('short piece'), indexOf('long piece', 'next piece')];
    await record(100, [old], { sent: [old, 'short piece'] });
    await record(90, [lasting], { sent: [lasting, 'long piece', 'next piece'], node: two });
    await record(1, []);
    for (const daysAgo of [60, 20]) await record(daysAgo, [lasting], { node: two, sent: [lasting] });
    await erase();
    const [short, long, next] = ['short piece', 'long piece', 'next piece'];
    assert.deepEqual(await kept(old, lasting, short, long, next), [lasting, long, next]);
  });

  it('is looked through for lists alone: each kind begins as the store looks for it', () => {
    assert.deepEqual(
      namingBlobs.map(({ head }) => head.toString('latin1', 0, 6)),
      namingBlobs.map(() => 'assay/'),
    );
  });

  it('stays where it is a list of files, while references that are kept name it', async () => {
    const referencesOf = (...names: readonly string[]) =>
      `${keptReferencesHead}${names.map((name) => blob(name).digest).join(' ')}\n[]`;
    const [old, lasting] = [referencesOf('old list', 'list'), referencesOf('list')];
    await record(100, [old], { sent: [old, 'old list', 'list'] });
    await record(90, [lasting], { sent: [lasting, 'list'], node: two });
    await record(1, []);
    for (const daysAgo of [60, 20]) await record(daysAgo, [lasting], { node: two });
    await erase();
    assert.deepEqual(await kept(old, lasting, 'old list', 'list'), [lasting, 'list']);
  });

  it('comes back whole where it is used again after it went', async () => {
    await record(100, ['log']);
    await record(20, []);
    await erase();
    assert.deepEqual(await kept('log'), []);
    await record(0, ['log']);
    assert.deepEqual(await kept('log'), ['log']);
  });

  it('is stored when it comes, also where an answer named it before', async () => {
    await record(0, ['log'], { bootLog: 'log', sent: [] });
    assert.deepEqual(await kept('log'), []);
    await record(0, ['log'], { bootLog: 'log' });
    assert.deepEqual(await kept('log'), ['log']);
  });

  it('stays, all of it, where an answer cannot be read', async () => {
    await record(100, ['log']);
    await record(90, [], { transition: true, answer: Buffer.from('of a later version') });
    await record(1, []);
    await assert.rejects(erase());
    assert.deepEqual(await kept('log'), ['log']);
    assert.deepEqual(await erasures(), []);
  });

  it('goes in steps of a hundred', async () => {
    const names = Array.from({ length: 250 }, (_, index) => `value ${index}`);
    await record(100, names);
    await record(1, []);
    await erase();
    assert.deepEqual(
      (await erasures()).map(({ detail }) => detail.count),
      [100, 100, 50],
    );
    assert.deepEqual(await kept(...names), []);
  });
});
