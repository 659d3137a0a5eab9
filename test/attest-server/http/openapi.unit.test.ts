import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { openApi } from '../../../attest-server/http/openapi.ts';
import { routes } from '../../../attest-server/http/routes.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { madeClusterNode } from '../marking/made-cluster.ts';
import { type MadeControl, madeControl } from '../marking/made-control.ts';
import { madeProof } from '../policy/made-proof.ts';
import { readDescription } from './api-description.ts';
import {
  type ApiServer,
  ask,
  emptyWorld,
  enrolled,
  now,
  referenceOf,
  startApi,
  statusOf,
  verdictOf,
} from './api-fixture.ts';

/** What each operation that wants something is sent. */
const bodies: Readonly<Record<string, object>> = {
  importPins: { pins: [{ node: 'node-5', ek: 'ab'.repeat(32) }] },
  createJoinToken: { node: 'node-5', ttlSeconds: 60 },
  resolveAuditRollback: { reason: 'a copy was restored' },
  finishAuthority: { force: true },
  approveEnrolment: { ek: 'ab'.repeat(32) },
  revokeEnrolment: { reason: 'sold' },
  simulatePolicy: { policy: 'kind: Policy\n' },
  captureReference: { node: 'node-1', name: 'captured' },
  simulateCapture: { node: 'node-1', name: 'captured-2' },
  announceReference: { reason: 'an update', forSeconds: 60 },
  deleteReference: { reason: 'it is old' },
  importReference: { ...referenceOf('imported') },
  approveReference: { reason: 'it is good' },
  retireReference: { reason: 'it is old' },
  revokeReference: { reason: 'it is bad' },
  restoreReference: { reason: 'it was a mistake' },
  createVolume: { node: 'node-1', name: 'docker', path: '/var/lib/docker' },
  revokeVolume: { reason: 'stolen' },
  restoreVolume: { reason: 'found' },
  createToken: { name: 'alice', role: 'reader' },
  pauseMarking: { reason: 'the night' },
  holdBreaker: { reason: 'the night' },
  releaseBreaker: { reason: 'it is bad indeed' },
  rollBackPolicy: { revision: 'e25b', reason: 'a slip' },
  allowPolicy: { revision: 'e25b0a91c7d4', reason: 'they are to go' },
  exemptNode: { node: 'node-1', reason: 'a demo', forSeconds: 60 },
};

describe('the description of the API', () => {
  let server: ApiServer;
  let made: MadeControl;
  before(async () => {
    const world = emptyWorld();
    world.nodes.set('node-1', { enrolled: enrolled('node-1'), status: statusOf('node-1', verdictOf()) });
    world.proofs.set('node-1', madeProof({ log: recordedLog('debian13-shim-grub') }));
    world.references.push(referenceOf('node-1'));
    world.bundles.set('node-1', {
      version: 2,
      attestationKey: '',
      quotes: [{ attest: '', signature: '', pcrs: {} }],
      parts: {},
    });
    made = await madeControl(() => now);
    made.cluster.add(madeClusterNode('node-1'));
    const [by, reason, value] = [null, null, null];
    const hold = {
      group: 'default',
      code: 'kernel_unknown',
      value,
      at: now,
      decision: 'open',
      by,
      reason,
    } as const;
    await made.decisions.hold(hold);
    world.cluster = made.control;
    server = await startApi(world);
  });
  after(async () => {
    await server.close();
    await made[Symbol.asyncDispose]();
  });

  const { operations, components, tags, schemaOf, responseOf } = readDescription(openApi(routes));

  it('names each operation once, in words that are a method of a client', () => {
    const ids = operations.map(({ operationId }) => operationId);
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[a-z]+([A-Z][a-z]+)*$/);
    const known = new Set(tags.map(({ name }) => name));
    assert.deepEqual(
      operations.filter(({ tags: [tag = ''] }) => !known.has(tag)),
      [],
    );
  });

  it('declares each parameter that a route takes', () => {
    for (const { path, method, parameters } of operations) {
      const row = routes.find((each) => each.path === path && each.method.toLowerCase() === method);
      const shape = row?.query instanceof z.ZodObject ? Object.keys(row.query.shape) : [];
      const named = (where: string) =>
        parameters.flatMap((each) => ('in' in each && each.in === where ? [each.name] : []));
      assert.deepEqual(named('query'), shape, path);
      assert.deepEqual(
        named('path'),
        [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
        path,
      );
    }
  });

  it('names each schema that it uses, and uses each that it names', () => {
    const text = JSON.stringify(openApi(routes));
    const used = new Set(
      [...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name),
    );
    assert.deepEqual([...used].sort(), Object.keys(components.schemas).sort());
  });

  for (const { path, method, operationId, parameters, requestBody, responses } of operations)
    it(`is enough to call ${operationId} and to read what it answers`, async () => {
      const filled = path.replaceAll(/\{\w+\}/g, 'node-1');
      const query = parameters.flatMap((each) =>
        'in' in each && each.in === 'query' && 'default' in each.schema
          ? [`${each.name}=${each.schema.default}`]
          : [],
      );
      const sent = requestBody && (bodies[operationId] ?? {});
      if (requestBody !== undefined)
        schemaOf(requestBody.content['application/json']?.schema ?? { $ref: '' }).parse(sent);
      const answer = await ask(server, `${filled}${query.length > 0 ? `?${query.join('&')}` : ''}`, {
        method: method.toUpperCase(),
        token: 'admin-token',
        ...(sent && { body: JSON.stringify(sent) }),
      });
      const known = responses[answer.status] ?? null;
      assert(known !== null, `${answer.status} is not described: ${answer.text}`);
      const type = String(answer.headers['content-type']);
      const schema = responseOf(known)?.content?.[type]?.schema;
      assert(schema !== undefined, `${type} is not described`);
      const told =
        type === 'text/event-stream' ? (/^data: (.*)$/m.exec(answer.text)?.[1] ?? '') : answer.text;
      schemaOf(schema).parse(JSON.parse(told));
    });
});
