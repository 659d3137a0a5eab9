import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { outcomesOf } from '../../swtpm-fixtures/api-server/cel.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { baseFolder } from '../manifests/renderings.ts';
import { expressionsOf } from './expressions.ts';
import { describeManifests } from './manifests.ts';

let api: ApiServer | undefined;
after(() => api?.[Symbol.asyncDispose]());

describeManifests('the API server of the tests', async () => {
  // As in a cluster, a policy acts a moment after it was made.
  api = await openApiServer({ settleMs: 50 });
  return api.kubeconfig(administrator);
});

describe('the expressions of the manifests', () => {
  const expressions = expressionsOf();

  it('are all known here', () => {
    const files = globSync('**/*.yaml', { cwd: baseFolder }).map((file) =>
      readFileSync(join(baseFolder, file), 'utf8'),
    );
    const written = files.flatMap((text) => [
      ...text.matchAll(/[\s{](expression|messageExpression|rule): /g),
    ]);
    assert.equal(expressions.length, written.length);
  });

  it('are all looked at by the tests above', () => {
    const unseen = expressions.filter(({ text }) => outcomesOf(text).size === 0);
    assert.deepEqual(
      unseen.map(({ where }) => where),
      [],
    );
  });

  it('were each true and false where they decide', () => {
    const decisions = expressions.filter(({ decides }) => decides);
    const oneSided = decisions.filter(
      ({ text }) => !outcomesOf(text).has(true) || !outcomesOf(text).has(false),
    );
    assert.deepEqual(
      oneSided.map(({ where, text }) => [where, text, ...outcomesOf(text)]),
      [],
    );
  });
});
