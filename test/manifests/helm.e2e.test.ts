import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { at, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { eventually } from '../cluster/installation.ts';
import { namesIn, runUnmark, startControllers } from './controllers.ts';
import { openHelmDoor } from './helm-door.ts';
import { chartFolder, helm, needsTools, Refused } from './kubernetes-tools.ts';

const upgrade = ['upgrade', '--install', 'assay', chartFolder] as const;
const uninstall = ['uninstall', 'assay'] as const;
const own = ['--set', 'namespaces.create=false'] as const;
const ofJobs = (api: ApiServer) => api.store.list('batch/jobs').map(([key]) => key);

describe('Helm, as people type it', function () {
  this.timeout(120_000);
  let stack: AsyncDisposableStack;
  let api: ApiServer;
  let door: { readonly url: string };
  /** What the next look at settings finds. */
  let fault: string | null;
  /** Jobs that ran, and whether the server was there then. */
  let ran: string[];

  beforeEach(async function () {
    stack = new AsyncDisposableStack();
    needsTools(this);
    api = stack.use(await openApiServer());
    door = stack.use(await openHelmDoor(api));
    fault = null;
    ran = [];
    stack.use(
      startControllers(api, async (_, job) => {
        const name = `${textAt(job, 'metadata', 'namespace')}/${textAt(job, 'metadata', 'name')}`;
        const isLate = api.store.get('apps/statefulsets', 'assay/assay-server') !== null;
        ran.push(`${name} ${isLate ? 'after' : 'before'} the server`);
        return name.endsWith('/assay-unmark') ? await runUnmark(api, job) : fault;
      }),
    );
  });
  afterEach(() => stack.disposeAsync());

  const run = (...args: readonly string[]) => helm(...args, '--kube-apiserver', door.url);
  const refusal = async (...args: readonly string[]) => {
    try {
      await run(...args);
    } catch (error) {
      if (error instanceof Refused) return error.message;
      throw error;
    }
    return null;
  };
  const make = (name: string) =>
    api
      .as(administrator)
      .request('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });

  it('installs by the command that upgrades, again and again, and looks at settings before each change', async () => {
    await run(...upgrade);
    await run(...upgrade, '--set', 'agent.logLevel=debug');
    assert.deepEqual(ran, ['assay/assay-check after the server', 'assay/assay-check after the server']);
    assert.deepEqual(ofJobs(api), []);
    fault = 'the policy is wrong';
    assert.notEqual(await refusal(...upgrade, '--set', 'agent.logLevel=trace'), null);
    // Nothing was changed.
    assert.match(
      JSON.stringify(api.store.get('apps/daemonsets', 'assay-agents/assay-agent')?.object),
      /"debug"/,
    );
  });

  it('looks at settings before anything is made, where the namespaces are there', async () => {
    await make('assay');
    await make('assay-agents');
    fault = 'the policy is wrong';
    const earlier = namesIn(api);
    assert.notEqual(await refusal(...upgrade, ...own), null);
    assert.deepEqual(ran, ['assay/assay-check before the server']);
    assert.deepEqual(
      [...namesIn(api)].filter((name) => !earlier.has(name)),
      ['configmap/sh.helm.release.v1.assay.v1', 'job.batch/assay-check'],
    );
    fault = null;
    await run(...upgrade, ...own);
  });

  it('keeps a look that failed for a day, in the namespace of the server and in no other', async () => {
    fault = 'the policy is wrong';
    assert.match((await refusal(...upgrade)) ?? '', /assay-check/);
    const [job, ...others] = api.store.list('batch/jobs');
    assert.deepEqual([job?.[0], others], ['assay/assay-check', []]);
    assert.equal(at(job?.[1].object ?? {}, 'spec', 'ttlSecondsAfterFinished'), 86_400);
    assert.deepEqual(
      api.store.list('/configmaps', 'default/').map(([key]) => key),
      ['default/sh.helm.release.v1.assay.v1'],
    );
    // What was wrong is put right, and the same command is typed.
    fault = null;
    await run(...upgrade);
    assert.deepEqual(ofJobs(api), []);
  });

  it('uninstalls a release whose first look failed', async () => {
    fault = 'the policy is wrong';
    assert.notEqual(await refusal(...upgrade), null);
    assert.equal(await refusal(...uninstall), null);
    assert.equal(ran.at(-1), 'assay/assay-unmark before the server');
    assert.deepEqual(
      [...namesIn(api)].filter((name) => /unmark|sh\.helm/.test(name)),
      [],
    );
  });

  it('begins no release whose namespaces nobody made, so that none is there to fail at its end', async () => {
    const said = await refusal(...upgrade, ...own);
    assert.deepEqual(
      [...(said ?? '').matchAll(/namespaces\.create: .* no namespace ([\w-]+):/g)].map(([, name]) => name),
      ['assay', 'assay-agents'],
    );
    assert.deepEqual(
      api.store.list('/configmaps', 'default/').map(([key]) => key),
      [],
    );
    await make('assay');
    await make('assay-agents');
    await run(...upgrade, ...own);
    assert.equal(await refusal(...uninstall), null);
  });

  it('makes the namespace again that somebody deleted, and looks at settings in it', async () => {
    await run(...upgrade);
    await api.as(administrator).request('DELETE', '/api/v1/namespaces/assay');
    await eventually(
      'the namespace is gone',
      async () => api.store.get('/namespaces', 'assay') === null || null,
    );
    await run(...upgrade);
    assert.equal(ran.at(-1), 'assay/assay-check after the server');
    assert.equal(await refusal(...uninstall), null);
  });

  it('mounts nothing, and asks for no look, where Secrets are wanted of a namespace that it has yet to make', async () => {
    await run(...upgrade, '--set', 'image.pullSecrets[0].name=registry');
    assert.deepEqual(ran, []);
    await run(...upgrade, '--set', 'image.pullSecrets[0].name=registry');
    assert.deepEqual(ran, ['assay/assay-check after the server']);
  });
});
