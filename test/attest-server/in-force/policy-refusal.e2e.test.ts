import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { policyView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { policyRevisionView } from '../../../attest-server/api/policy-api.ts';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { reference } from '../../../attest-server/formats/reference.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type SignedDirectory, signedDirectory } from '../declared/signed-directory.ts';
import { type ForgedFleet, startForgedFleet } from '../references/forged-fleet.ts';
import type { ServerSettings, TestServer } from '../running-server.ts';

const log = recordedLog('debian13-sdboot-uki');
const names = ['node-1', 'node-2', 'node-3', 'node-4'] as const;

const policyOf = (rules: string, note = '') =>
  `apiVersion: assay.dev/v1\nkind: Policy\n${note}groups:\n  - {name: workers, nodes: ["*"], mode: enforce, require: [identity, boot], boot: {${rules}}}\n`;
const good = policyOf('');
/** No node of the fleet has it. */
const wrong = policyOf(`dbx: {contains: ["${'ab'.repeat(32)}"]}`);
const revisionOf = (text: string) => hash('sha256', text, 'hex').slice(0, 12);

describe('a policy that would take the trust of many nodes', () => {
  let folder: string;
  let file: string;
  let fleet: ForgedFleet;
  let world: TestServer;

  const open = async (settings: ServerSettings = {}) => {
    fleet = await startForgedFleet(Object.fromEntries(names.map((name) => [name, log])), {
      policy: file,
      ...settings,
    });
    world = fleet.world;
    await fleet.answer('node-1');
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'boot' });
    for (const name of names) assert.equal(await fleet.answer(name), 'trusted');
  };
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-refusal-'));
    file = join(folder, 'policy.yaml');
    await writeFile(file, good);
  });
  afterEach(async () => {
    await fleet?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  const status = async () => statusView.parse(await world.call('GET', '/v1/status'));
  const revision = async () => policyView.parse(await world.call('GET', '/v1/policy')).revision;
  const history = async () =>
    listOf(policyRevisionView).parse(await world.call('GET', '/v1/policy/history')).items;
  const assay = (line: string, ...more: string[]) =>
    runAssay([...line.split(' '), ...more], { env: world.env() });
  const reloaded = async (text: string) => {
    await writeFile(file, text);
    return world.server.reload().then(
      () => null,
      (error: unknown) => error,
    );
  };
  const metric = (part: string) => world.metric(`assay_policy_refused_nodes{part="${part}"}`);
  const audited = async (action: string) =>
    (await world.audit())
      .filter((entry) => entry.action === action)
      .map(({ actor, subject }) => [actor, subject]);

  it('is refused when it is read again, says what it would do and what to type, and changes nobody (row 386)', async () => {
    await open();
    const tried = join(folder, 'tried.yaml');
    const foretold = async (text: string) => {
      await writeFile(tried, text);
      const { code, out } = await assay(`policy simulate ${tried}`);
      return [code, /^the server would refuse this policy: it would make (.*) untrusted/m.exec(out)?.[1]];
    };
    assert.deepEqual(await foretold(wrong), [10, '4 of 4 trusted nodes']);
    const observed = wrong.replace('enforce', 'observe');
    assert.deepEqual(await foretold(observed), [10, undefined]);
    assert.deepEqual(await foretold(policyOf('', '# the same\n')), [0, undefined]);
    const refused = await reloaded(wrong);
    assert.ok(refused instanceof PolicyError);
    assert.equal(refused.code, 'untrusts_many');
    assert.match(refused.message, /4 of 4 trusted nodes untrusted \(node-1, node-2, node-3, node-4\)/);
    assert.match(refused.message, new RegExp(`assay policy allow ${revisionOf(wrong)} --reason`));
    assert.equal(await revision(), revisionOf(good));
    assert.equal(await fleet.answer('node-2'), 'trusted');
    const [faulty] = (await status()).faulty;
    assert.deepEqual(
      [faulty?.part, faulty?.refused?.trusted, faulty?.refused?.untrusted, faulty?.next.split('\n')],
      [
        'policy',
        4,
        4,
        [
          `assay policy simulate ${file}`,
          `assay policy allow ${revisionOf(wrong)} --reason "these nodes should lose their trust"`,
        ],
      ],
    );
    assert.deepEqual([await metric('policy'), await metric('declared')], [4, 0]);
    assert.match(
      (await assay('status')).out,
      /^ +assay policy simulate .*\n +assay policy allow [0-9a-f]{12} --reason/m,
    );
    // What the file said before is no fault of today.
    assert.equal(await reloaded(good), null);
    assert.deepEqual([(await status()).faulty, await metric('policy')], [[], 0]);
  });

  it('comes into force at once when an administrator allows it, and that text alone (rows 386, 389)', async () => {
    await open();
    await reloaded(wrong);
    const allow = (text: string) =>
      assay(`policy allow ${revisionOf(text)} --yes --reason`, 'they are to go');
    // Whoever controls the file changes it once more: another text is not allowed by that.
    const other = wrong.replace('abab', 'cdcd');
    const dry = await assay(`policy allow ${revisionOf(wrong)} --dry-run --reason`, 'they are to go');
    assert.equal(dry.code, 10);
    assert.match(dry.out, /would make 4 of 4 trusted nodes untrusted\. Once allowed, it comes into force/);
    assert.equal(await revision(), revisionOf(good));
    assert.match((await allow(wrong)).out, /^policy@[0-9a-f]{12} is in force\n$/);
    assert.equal(await revision(), revisionOf(wrong));
    assert.equal(await fleet.answer('node-1'), 'untrusted');
    assert.deepEqual((await status()).faulty, []);
    assert.deepEqual(await audited('policy.allow'), [['token:admin', revisionOf(wrong)]]);
    const [now] = await history();
    assert.deepEqual([now?.came, now?.by, now?.reason], ['allowed', 'token:admin', 'they are to go']);
    // The word is used up: the same text is refused again after another one was in force.
    assert.equal(await reloaded(good), null);
    for (const name of names) assert.equal(await fleet.answer(name), 'trusted');
    for (const text of [other, wrong]) assert.ok((await reloaded(text)) instanceof PolicyError);
  });

  it('may be allowed before it is there: then it comes when it is read again', async () => {
    await open();
    const { out } = await assay(`policy allow ${revisionOf(wrong)} --yes --reason`, 'planned');
    assert.match(out, /is allowed$/m);
    assert.equal(await revision(), revisionOf(good));
    assert.equal(await reloaded(wrong), null);
    assert.equal(await revision(), revisionOf(wrong));
  });

  it('does not come by a start: the server goes on with the one before, and shows that everywhere (row 387)', async () => {
    await open();
    await world.restart(() => writeFile(file, wrong));
    assert.equal(await revision(), revisionOf(good));
    assert.equal(await fleet.answer('node-3'), 'trusted');
    const [faulty] = (await status()).faulty;
    assert.deepEqual([faulty?.part, faulty?.refused?.policy], ['policy', `policy@${revisionOf(wrong)}`]);
    assert.equal(await metric('policy'), 4);
    assert.equal(await world.metric('assay_reload_faulty{part="policy"}'), 1);
    const env = { env: world.env() };
    await runAssay(['policy', 'allow', revisionOf(wrong), '--yes', '--reason', 'now'], env);
    assert.equal(await revision(), revisionOf(wrong));
    await world.restart();
    assert.deepEqual([await revision(), (await status()).faulty], [revisionOf(wrong), []]);
  });

  it('does not come from a signed directory, of which nothing is stored then (row 387)', async () => {
    const git: SignedDirectory = await signedDirectory();
    try {
      await open({ declared: { directory: git.directory, keys: [git.publicKey('merge')] } });
      await git.write('policy.yaml', wrong);
      await git.declare();
      const faulty = await world.until(async () =>
        (await status()).faulty.find(({ refused }) => refused !== null),
      );
      assert.deepEqual(
        [faulty.part, faulty.refused?.untrusted, faulty.next.split('\n')[0]],
        ['declared', 4, `assay policy simulate ${join(git.directory, 'policy.yaml')}`],
      );
      assert.equal((await status()).declared?.inForce, null);
      assert.equal(await metric('declared'), 4);
      const { out } = await assay(`policy allow ${revisionOf(wrong)} --yes --reason`, 'now');
      assert.match(out, /is in force/);
      assert.deepEqual(
        [await revision(), (await status()).declared?.inForce?.serial],
        [revisionOf(wrong), 1],
      );
    } finally {
      await git[Symbol.asyncDispose]();
    }
  });

  it('is taken from a directory that revokes what all boot: a revocation is never refused', async () => {
    const git: SignedDirectory = await signedDirectory();
    try {
      await open({ declared: { directory: git.directory, keys: [git.publicKey('merge')] } });
      const boot = reference.parse(await world.call('GET', '/v1/references/boot'));
      const { captured: _here, ...known } = boot;
      await git.write('boot.json', { ...known, state: 'revoked' });
      await git.write('policy.yaml', `${good}# with another word\n`);
      await git.declare();
      await world.until(async () => (await status()).declared?.inForce?.serial === 1);
      assert.equal(await fleet.answer('node-1'), 'untrusted');
    } finally {
      await git[Symbol.asyncDispose]();
    }
  });

  it('counts by nodes that are trusted alone: those that are not have no voice (row 388)', async () => {
    await open();
    await fleet.world.call('POST', '/v1/references/boot/revoke', { reason: 'bad' });
    for (const name of names) assert.equal(await fleet.answer(name), 'untrusted');
    assert.equal(await reloaded(wrong), null);
    assert.equal(await revision(), revisionOf(wrong));
  });

  it('is taken where it only observes these nodes, or where they turn pending', async () => {
    await open();
    assert.equal(await reloaded(wrong.replace('enforce', 'observe')), null);
    assert.equal(await reloaded(good), null);
    assert.equal(await reloaded(policyOf('references: [other]')), null);
  });

  it('is refused to whoever is no administrator, as going back is (row 393)', async () => {
    await open();
    await reloaded(wrong);
    const token = (
      JSON.parse((await assay('token create --name eve --role operator -o json')).out) as { token: string }
    ).token;
    for (const step of ['allow', 'rollback']) {
      const body = { revision: revisionOf(wrong), reason: 'because' };
      assert.equal((await world.ask('POST', `/v1/policy/${step}`, token, body)).status, 403);
    }
    assert.equal(await revision(), revisionOf(good));
    assert.deepEqual([await audited('policy.allow'), await audited('policy.rollback')], [[], []]);
  });

  describe('and one that somebody went back from', () => {
    const slip = policyOf('secureBoot: report', '# a slip\n');
    beforeEach(async () => {
      await open();
      assert.equal(await reloaded(slip), null);
    });
    const goBack = (digits = revisionOf(good).slice(0, 6)) =>
      assay(`policy rollback ${digits} --yes --reason`, 'the new one is a slip');

    it('stays out of force while its text stays as it is, over restarts (row 390)', async () => {
      const { code, out } = await goBack();
      assert.equal(code, 0);
      assert.ok(out.includes(`until the policy in ${file} changes\n`), out);
      assert.equal(await revision(), revisionOf(good));
      const same = async () => {
        const { policy, faulty } = await status();
        assert.deepEqual(
          [policy.revision, policy.rollback?.insteadOf, policy.rollback?.by, faulty],
          [revisionOf(good), revisionOf(slip), 'token:admin', []],
        );
      };
      await same();
      // Touched, and not changed.
      await utimes(file, new Date(), new Date());
      await world.server.reload();
      await same();
      await world.restart(() => writeFile(file, slip));
      await same();
      assert.match(
        (await assay('status')).out,
        /^Rolled back: +since .*by token:admin: the new one is a slip/m,
      );
      assert.ok((await world.metric('assay_policy_rollback_timestamp_seconds')) > 0);
      assert.deepEqual(await audited('policy.rollback'), [['token:admin', `policy@${revisionOf(good)}`]]);
      // Put right.
      assert.equal(await reloaded(policyOf('secureBoot: report', '# right\n')), null);
      assert.equal((await status()).policy.rollback, null);
      await world.restart(() => writeFile(file, slip));
      assert.equal(await revision(), revisionOf(slip));
    });

    it('ends when the file has the text that somebody went back to, and does not come by itself again', async () => {
      await goBack();
      assert.equal(await reloaded(good), null);
      assert.equal((await status()).policy.rollback, null);
      assert.equal(await reloaded(slip), null);
      assert.equal(await revision(), revisionOf(slip));
    });

    it('stays in place of what is refused, too (row 390)', async () => {
      await goBack();
      assert.ok((await reloaded(wrong)) instanceof PolicyError);
      await world.restart();
      assert.deepEqual([await revision(), (await status()).faulty.length], [revisionOf(good), 1]);
      assert.equal(await reloaded(slip), null);
      assert.equal(await revision(), revisionOf(good));
    });

    it('takes no revocation back (row 391)', async () => {
      await fleet.world.call('POST', '/v1/references/boot/revoke', { reason: 'bad' });
      assert.equal(await fleet.answer('node-1'), 'untrusted');
      await goBack();
      assert.equal(await fleet.answer('node-1'), 'untrusted');
    });

    it('is listed, shown and compared', async () => {
      const rows = (await assay('policy history')).out.split('\n');
      assert.match(rows[1] ?? '', new RegExp(`^policy@${revisionOf(slip)} +reload .* in force +${file}`));
      assert.match(rows[2] ?? '', new RegExp(`^policy@${revisionOf(good)} +start `));
      const shown = await assay(`policy show --revision policy@${revisionOf(good)}`);
      assert.equal(shown.out, good);
      const out = join(folder, 'out.yaml');
      assert.equal((await assay(`policy show --revision ${revisionOf(good)} -f ${out}`)).code, 0);
      assert.equal(await readFile(out, 'utf8'), good);
      const diff = await assay('policy diff');
      assert.equal(diff.code, 10);
      assert.match(diff.out, /^--- policy@.*\n\+\+\+ policy@.*\n@@ /);
      assert.match(diff.out, /^\+# a slip$/m);
      const current = join(folder, 'current.yaml');
      assert.equal((await assay(`policy show -f ${current}`)).code, 0);
      assert.equal(revisionOf(await readFile(current, 'utf8')), await revision());
      assert.equal((await assay(`policy show --revision ${'0'.repeat(12)}`)).code, 1);
      assert.equal((await assay('policy show --revision no')).code, 2);
      const dry = await assay(`policy rollback ${revisionOf(good)} --dry-run --reason`, 'why');
      assert.match(dry.out, /0 of 4 nodes would change/);
      assert.equal(await revision(), revisionOf(slip));
      assert.equal((await goBack(revisionOf(slip))).code, 1);
    });
  });

  it('is kept as others are, up to a number of bytes: the oldest go (row 392)', async () => {
    await open();
    const texts = Array.from({ length: 24 }, (_, turn) => `${good}# ${turn} ${'漢'.repeat(260_000)}\n`);
    for (const text of texts) assert.equal(await reloaded(text), null);
    const kept = await history();
    assert.equal(kept[0]?.digest, hash('sha256', texts.at(-1) ?? '', 'hex'));
    assert.ok(kept.length > 18 && kept.length < 24, String(kept.length));
    assert.ok(kept.every(({ digest }) => digest !== hash('sha256', good, 'hex')));
    assert.equal(await readFile(file, 'utf8'), texts.at(-1));
  });
});
