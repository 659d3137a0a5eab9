import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { checkVersions, parseAgentMessage } from '../../../attest-server/wire/messages.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

describe('the versions in a hello', () => {
  for (const range of [
    [1, 1],
    [1, 3],
    [0, 1],
  ] as const)
    it(`${range.join(' to ')} are served`, () => checkVersions(range));

  for (const [range, who] of [
    [[0, 0], 'agent'],
    [[2, 3], 'server'],
  ] as const)
    it(`${range.join(' to ')} are refused before any other field is looked at, and who must be updated is said`, () => {
      const hello = { type: 'hello', versions: { protocol: range, program: '9', more: 1 }, nodes: ['x'] };
      assert.throws(
        () => parseAgentMessage(JSON.stringify(hello)),
        (error) =>
          error instanceof Rejection &&
          error.code === 'malformed' &&
          error.field === 'versions.protocol' &&
          error.message.endsWith(`update the ${who}`),
      );
    });

  it('of this time do not excuse another fault', () => {
    const hello = { type: 'hello', versions: { protocol: [1, 1], program: '1.0.0' }, nodes: ['x'] };
    assert.throws(
      () => parseAgentMessage(JSON.stringify(hello)),
      (error) => error instanceof Rejection && error.field !== 'versions.protocol',
    );
  });
});
