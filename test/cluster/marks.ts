import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { trustedCondition, trustedLabel } from '../../attest-server/formats/marks.ts';
import { type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { eventually } from './installation.ts';
import { type MarkCase, type MarksOfCase, markCases } from './mark-cases.ts';
import { controller, needs, nodeOf, outcomeOf, userOf, type World } from './world.ts';

const merge = 'application/merge-patch+json';

/** Who may change marks of a Node, as manifests/base/admission/marks.yaml says. */
export function describeMarks(worldOf: () => World): void {
  describe('marks', () => {
    const nodes = new Map<string, string>();
    let world: World;
    before(async () => {
      world = worldOf();
      let made = 0;
      for (const { old } of markCases) {
        const key = JSON.stringify(old);
        if (old === null || nodes.has(key)) continue;
        made += 1;
        const name = world.named(`${made}`);
        await makeMarked(world, name, old);
        nodes.set(key, name);
      }
      if (world.features.rbac !== null) return;
      const [probe = ''] = nodes.values();
      await eventually('the policy on marks acts', async () => {
        const taints = [{ key: 'assay.dev/probe', effect: 'NoSchedule' }];
        const path = `/api/v1/nodes/${probe}?dryRun=All`;
        const reply = await world.ask({
          method: 'PATCH',
          path,
          body: { spec: { taints } },
          contentType: merge,
          as: controller,
        });
        return outcomeOf(reply) === 'assay-marks' ? true : null;
      });
    });

    let created = 0;
    for (const { title, who, old, next, status, isAllowed } of markCases) {
      const where = status === true ? ' (status)' : '';
      it(`${who} ${title}${where}: ${isAllowed ? 'let pass' : 'denied'}`, async function () {
        needs(this, world, 'rbac');
        if (who === 'kubelet') needs(this, world, 'nodeRestriction');
        created += 1;
        const name =
          old === null ? world.named(`new-${created}`) : (nodes.get(JSON.stringify(old)) ?? assert.fail());
        const reply =
          old === null
            ? await world.ask({
                method: 'POST',
                path: '/api/v1/nodes?dryRun=All',
                body: bodyOf(name, next),
                as: userOf(who, name),
              })
            : await write(name, { who, old, next, ...(status && { status }) });
        const outcome = outcomeOf(reply);
        if (isAllowed) assert.equal(outcome, 'allowed');
        // A kubelet's taints and labels are refused by NodeRestriction before.
        else if (who !== 'kubelet') assert.equal(outcome, 'assay-marks');
        else assert.match(outcome, /^assay-marks$|^403 Forbidden: .*is not allowed to/);
      });
    }

    it('are anybody’s to set while the binding only warns, and nobody’s once it denies again', async function () {
      needs(this, world, 'rbac');
      const [name = ''] = nodes.values();
      const binding = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/assay-marks';
      const acts = async (validationActions: readonly string[], wanted: string) => {
        const spec = { validationActions: [...validationActions] };
        const { code, text } = await world.ask({
          ...{ method: 'PATCH', path: binding, body: { spec }, contentType: merge },
        });
        assert.equal(code, 200, text);
        await eventually(`the marks are protected by ${validationActions.join()}`, async () => {
          const reply = await world.ask({
            method: 'PATCH',
            path: `/api/v1/nodes/${name}?dryRun=All`,
            body: { metadata: { labels: { [trustedLabel]: 'forged' } } },
            contentType: merge,
            as: controller,
          });
          return outcomeOf(reply) === wanted ? true : null;
        });
      };
      try {
        // As the chart has them.
        for (const actions of [['Warn', 'Audit'], ['Audit']]) await acts(actions, 'allowed');
      } finally {
        await acts(['Deny'], 'assay-marks');
      }
    });

    /** Changes what differs, as patches do, and leaves what others have on the Node. */
    async function write(
      name: string,
      { who, old, next, status }: Pick<MarkCase, 'who' | 'next' | 'status'> & { readonly old: MarksOfCase },
    ) {
      const { body } = await world.ask({ method: 'GET', path: `/api/v1/nodes/${name}` });
      const removed = Object.keys(old.labels ?? {}).filter((key) => next.labels?.[key] === undefined);
      const labels = { ...next.labels, ...Object.fromEntries(removed.map((key) => [key, null])) };
      const wanted = bodyOf(name, next);
      const ours = new Set(listAt(bodyOf(name, old), 'spec', 'taints').map((taint) => textAt(taint, 'key')));
      const others = listAt(body, 'spec', 'taints').filter((taint) => !ours.has(textAt(taint, 'key')));
      const isUntouched = JSON.stringify(old.taints ?? []) === JSON.stringify(next.taints ?? []);
      const patch = {
        ...(Object.keys(labels).length > 0 && { metadata: { labels } }),
        ...(status === true && { status: { conditions: listAt(wanted, 'status', 'conditions') } }),
        ...(status !== true &&
          !isUntouched && { spec: { taints: [...others, ...listAt(wanted, 'spec', 'taints')] } }),
      };
      return world.ask({
        method: 'PATCH',
        path: `/api/v1/nodes/${name}${status === true ? '/status' : ''}?dryRun=All`,
        body: patch,
        contentType: merge,
        as: userOf(who, name),
      });
    }
  });
}

/** By an administrator, in the order in which it is allowed. */
async function makeMarked(world: World, name: string, marks: MarksOfCase): Promise<void> {
  const { labels, ...rest } = marks;
  await world.installation.make(bodyOf(name, rest));
  if (labels === undefined) return;
  const path = `/api/v1/nodes/${name}`;
  const reply = await world.ask({
    method: 'PATCH',
    path,
    body: { metadata: { labels } },
    contentType: merge,
  });
  assert.equal(reply.code, 200, reply.text);
}

function bodyOf(
  name: string,
  { taints, labels, condition, ready = 'KubeletReady', more = 0 }: MarksOfCase,
): JsonObject {
  const at = '2026-11-27T00:00:00Z';
  const times = { lastHeartbeatTime: at, lastTransitionTime: at };
  return nodeOf(name, {
    ...(labels && { metadata: { labels } }),
    spec: { taints: (taints ?? []).map(taintOf) },
    status: {
      conditions: [
        { type: 'Ready', status: 'True', reason: ready, message: 'kubelet is posting', ...times },
        ...Array.from({ length: more }, (_, index) => ({
          ...{ type: `Other${index}`, status: 'False', reason: 'Made', message: 'made' },
          ...times,
        })),
        ...(condition === undefined
          ? []
          : [{ type: trustedCondition, status: condition, reason: 'Made', message: 'made', ...times }]),
      ],
    },
  });
}

function taintOf(text: string): JsonObject {
  const [, key = '', value, effect = 'NoSchedule'] = /^([^=:]+)(?:=([^:]*))?(?::(\w+))?$/.exec(text) ?? [];
  return { key, ...(value !== undefined && { value }), effect };
}
