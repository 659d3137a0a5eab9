import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { attestationStatus } from '../../attest-server/marking/attestation-status.ts';
import { judgedNode } from '../../attest-server/marking/judged-node.ts';
import { marksFor } from '../../attest-server/marking/marks.ts';
import { at, type Json, type JsonObject, textAt, textsAt } from '../../swtpm-fixtures/api-server/json.ts';
import { kubelet, type User } from '../../swtpm-fixtures/api-server/users.ts';
import { madeClusterNode } from '../attest-server/marking/made-cluster.ts';
import { keys, madeGroup, madeStatus, madeVerdict, today } from '../attest-server/marking/made-marking.ts';
import { eventually } from './installation.ts';
import { controller, needs, outcomeOf, personOf, server, type World } from './world.ts';

const attestations = '/apis/assay.dev/v1alpha1/nodeattestations';
const contentTypes = { merge: 'application/merge-patch+json', apply: 'application/apply-patch+yaml' };

/** What the custom resource takes, and from whom. */
export function describeAttestations(worldOf: () => World): void {
  describe('attestations', () => {
    let world: World;
    let name: string;
    const patched = (body: Json, as: User | undefined, query = 'dryRun=All', subresource = '/status') =>
      world.ask({
        method: 'PATCH',
        path: `${attestations}/${name}${subresource}?fieldValidation=Strict&${query}`,
        body,
        contentType: query.includes('fieldManager') ? contentTypes.apply : contentTypes.merge,
        as,
      });
    const applied = (body: JsonObject, subresource: string) =>
      patched(
        {
          apiVersion: 'assay.dev/v1alpha1',
          kind: 'NodeAttestation',
          metadata: { name },
          ...body,
        },
        server,
        'fieldManager=assay-server&force=true',
        subresource,
      );
    before(async () => {
      world = worldOf();
      name = world.named('attested');
      if (world.features.rbac !== null) return;
      await eventually('the policy on attestations acts', async () => {
        const body = { apiVersion: 'assay.dev/v1alpha1', kind: 'NodeAttestation', metadata: { name } };
        const reply = await world.ask({
          method: 'POST',
          path: `${attestations}?dryRun=All`,
          body,
          as: controller,
        });
        return outcomeOf(reply) === 'assay-attestations' ? true : null;
      });
    });

    it('takes what the server says of nodes in each state, member by member', async () => {
      assert.equal(outcomeOf(await applied({}, '')), 'allowed');
      for (const status of statuses()) {
        const reply = await applied({ status: JSON.parse(JSON.stringify(status)) }, '/status');
        assert.equal(outcomeOf(reply), 'allowed');
        assert.deepEqual(reply.body.status, JSON.parse(JSON.stringify(status)));
      }
    });

    it('takes a map without keys over one that had some, as servers up to 0.3.0 say it', async () => {
      const host = { status: 'affirming', source: 'host' };
      for (const aspects of [{ host }, {}]) {
        const reply = await applied({ status: { state: 'unknown', aspects } }, '/status');
        assert.equal(outcomeOf(reply), 'allowed');
        assert.equal(
          at(reply.body, 'status', 'aspects', 'host', 'source'),
          Object.hasOwn(aspects, 'host') ? 'host' : undefined,
        );
      }
      const [last] = [...statuses()].slice(-1);
      assert.equal(
        outcomeOf(await applied({ status: JSON.parse(JSON.stringify(last)) }, '/status')),
        'allowed',
      );
    });

    it('takes no member and no value that it does not know', async () => {
      const unknown = /^422 Invalid.*unknown field|^400 BadRequest.*unknown field/;
      const refused = /^422 Invalid/;
      const wrong: readonly (readonly [Json, RegExp])[] = [
        [{ status: { nodes: ['a'] } }, unknown],
        [{ status: { aspects: { boot: { status: 'affirming', source: 'tpm', sure: true } } } }, unknown],
        [{ status: { state: 'fine' } }, refused],
        [{ status: { reason: 'Not A Code' } }, refused],
        [{ status: { verifiedAt: 'today' } }, refused],
        [{ status: { aspects: { boot: { status: 'affirming' } } } }, refused],
        [{ status: { codes: Array.from({ length: 17 }, () => 'x') } }, refused],
      ];
      for (const [body, refusal] of wrong) {
        assert.match(outcomeOf(await patched(body, undefined)), refusal, JSON.stringify(body));
      }
    });

    it('is written by the server alone', async function () {
      needs(this, world, 'rbac');
      const lie = { status: { state: 'trusted' } };
      assert.equal(outcomeOf(await patched(lie, controller)), 'assay-attestations');
      assert.equal(
        outcomeOf(await patched({ metadata: { labels: { a: 'b' } } }, controller, 'dryRun=All', '')),
        'assay-attestations',
      );
      for (const stranger of [kubelet(name), personOf('admin'), personOf('exempt')]) {
        assert.match(outcomeOf(await patched(lie, stranger)), /^403 Forbidden/);
      }
      assert.equal(outcomeOf(await patched(lie, undefined)), 'allowed');
    });

    it('is removed by the server, and by who may exempt nodes', async function () {
      needs(this, world, 'rbac');
      const removed = async (as: User) =>
        outcomeOf(await world.ask({ method: 'DELETE', path: `${attestations}/${name}?dryRun=All`, as }));
      assert.equal(await removed(controller), 'assay-attestations');
      assert.equal(await removed(personOf('exempt')), 'allowed');
      assert.equal(await removed(server), 'allowed');
    });

    it('shows people the state of a node', async () => {
      const { body } = await world.ask({ method: 'GET', path: `${attestations}/${name}` });
      assert.equal(textAt(body, 'metadata', 'name'), name);
      assert.ok(textAt(body, 'status', 'state'));
      assert.deepEqual(textsAt(body, 'status', 'require'), ['identity', 'boot']);
    });
  });
}

/** As the server makes them. */
function* statuses(): Iterable<Readonly<Record<string, unknown>>> {
  const group = madeGroup();
  const node = madeClusterNode('a');
  const exemption = { node: 'a', reason: 'r', by: 'p', at: today, until: today + 3_600_000 };
  const circumstances = { keys, paused: false, delay: null, isSettling: false, ownNode: null };
  const aspects = {
    identity: { status: 'affirming', source: 'tpm' },
    boot: { status: 'affirming', source: 'tpm' },
    host: { status: 'affirming', source: 'host' },
  } as const;
  for (const state of ['pending', 'trusted', 'untrusted'] as const) {
    const made = { state, codes: state === 'trusted' ? [] : (['kernel_unknown', 'cmdline_policy'] as const) };
    for (const exempt of [null, exemption]) {
      const verdict = { ...madeVerdict(made), aspects };
      const status = { ...madeStatus('a', made, { bootedAt: today - 60_000 }), verdict };
      const judged = judgedNode(status, group, today);
      const marks = marksFor(judged, node, { ...circumstances, exemption: exempt });
      yield attestationStatus(judged, marks, exempt, today);
    }
  }
  const overdue = judgedNode(madeStatus('a', { state: 'trusted' }, { expiresAt: today - 1 }), group, today);
  yield attestationStatus(
    overdue,
    marksFor(overdue, node, { ...circumstances, exemption: null }),
    null,
    today,
  );
  const absent = judgedNode(null, { ...group, tpm: 'absent' }, today);
  yield attestationStatus(absent, marksFor(absent, node, { ...circumstances, exemption: null }), null, today);
  const fresh = judgedNode(null, group, today);
  yield attestationStatus(fresh, marksFor(fresh, node, { ...circumstances, exemption: null }), null, today);
}
