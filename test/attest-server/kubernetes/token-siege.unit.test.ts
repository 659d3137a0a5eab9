import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { trials } from '../../trials.ts';
import { ninetieth, type TokenSiege } from './token-siege.ts';

/** 64 a second: as many connections as the door takes of one address. */
const siege: TokenSiege = { perSecond: 64, addresses: 16, home: '10.0.0.1', now: '10.0.0.1' };

describe('an agent whose token was never seen, while others show made-up ones with the public keys of its node', () => {
  const sieges: Readonly<Record<string, TokenSiege>> = {
    'where it last proved itself': siege,
    'where it last proved itself, while they have the keys of a hundred nodes': {
      ...siege,
      perSecond: 256,
      nodes: 100,
    },
    'at another address than before': { ...siege, now: '10.0.0.2' },
    'where nobody knows from where it came before': { ...siege, home: null },
    'behind the address from which they come': { ...siege, behind: '10.0.0.1' },
  };
  // A refusal is an error, and nobody reads where these hundred thousand come from.
  const { stackTraceLimit } = Error;
  before(() => {
    Error.stackTraceLimit = 0;
  });
  after(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  for (const [where, each] of Object.entries(sieges))
    it(`is in within a second, nine times of ten, ${where} (row 367)`, async () => {
      const took = await ninetieth(each, Math.min(10, trials(5)));
      assert.ok(took !== null && took <= 1_000, `${took} ms`);
    });
});
