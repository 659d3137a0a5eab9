import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { exit } from '../../attest-server/cli/exit.ts';
import { at, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { relationsOf } from './relations.ts';
import { allManifests } from './renderings.ts';
import { titleOf } from './upgrade.ts';

const annotation = (object: JsonObject, name: string) =>
  textAt(object, 'metadata', 'annotations', `helm.sh/${name}`);
const phasesOf = (object: JsonObject) => annotation(object, 'hook')?.split(',') ?? [];
const known = ['pre-install', 'pre-upgrade', 'post-delete', 'test'];

for (const { name, objects } of allManifests.filter((one) => one.name.startsWith('the chart')))
  describe(`the hooks of ${name}`, () => {
    it('are of phases and policies that Helm knows, and are gone before they are made again', async function () {
      for (const object of await objects(this)) {
        const phases = phasesOf(object);
        if (phases.length === 0) continue;
        assert.deepEqual(
          phases.filter((phase) => !known.includes(phase)),
          [],
          titleOf(object),
        );
        assert.ok(
          annotation(object, 'hook-delete-policy')?.split(',').includes('before-hook-creation'),
          titleOf(object),
        );
        assert.match(annotation(object, 'hook-weight') ?? '', /^-?\d+$/, titleOf(object));
      }
    });

    it('find what they name: made by hooks before them, or by the chart where it is there then', async function () {
      const all = await objects(this);
      for (const hook of all)
        for (const phase of phasesOf(hook)) {
          const weight = Number(annotation(hook, 'hook-weight'));
          const earlier = all.filter(
            (one) => phasesOf(one).includes(phase) && Number(annotation(one, 'hook-weight')) < weight,
          );
          // Before an installation and after an uninstall there is nothing of the chart.
          const usual = phase === 'test' ? all.filter((one) => phasesOf(one).length === 0) : [];
          const missing = relationsOf([...earlier, ...usual, hook]).needed.filter((title) =>
            all.some((one) => titleOf(one) === title),
          );
          // A namespace that is kept outlives the rest.
          const gone = missing.filter((title) => !title.startsWith('Namespace '));
          assert.deepEqual(gone, [], `${titleOf(hook)} in ${phase}`);
        }
    });

    it('end by themselves, and leave the pods that failed with what these said, which Helm shows', async function () {
      for (const object of (await objects(this)).filter((one) => phasesOf(one).length > 0)) {
        const isJob = textAt(object, 'kind') === 'Job';
        if (!isJob && textAt(object, 'kind') !== 'Pod') continue;
        assert.equal(annotation(object, 'hook-output-log-policy'), 'hook-failed', titleOf(object));
        const pod = isJob ? at(object, 'spec', 'template', 'spec') : at(object, 'spec');
        // Of a Job that restarts its containers the pod is removed with the last try.
        assert.equal(textAt(pod, 'restartPolicy'), 'Never', titleOf(object));
        // Longer than Helm waits (5 min), after which the pods are removed too.
        if (isJob) assert.ok(Number(at(object, 'spec', 'activeDeadlineSeconds')) > 300, titleOf(object));
      }
    });

    it('try nothing again that the latch refused', async function () {
      const unmark = (await objects(this)).find(
        (one) => textAt(one, 'kind') === 'Job' && phasesOf(one).includes('post-delete'),
      );
      // Some values leave it out.
      if (unmark === undefined) return;
      const [rule] = listAt(unmark, 'spec', 'podFailurePolicy', 'rules');
      assert.deepEqual(rule, {
        action: 'FailJob',
        onExitCodes: { containerName: 'unmark', operator: 'In', values: [exit.held] },
      });
    });
  });
