import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import { lastExpiry } from '../../../attest-server/policy/last-expiry.ts';
import {
  keyed,
  remembering,
  rememberingInSteps,
  whenMade,
} from '../../../attest-server/policy/remembering.ts';

interface Shown {
  readonly name: string;
  readonly log: { readonly digest: string; readonly lines: readonly string[] } | null;
  readonly said: string | null;
  readonly ignored: string;
}

const shown: Shown = { name: 'one', log: { digest: 'ab', lines: ['x'] }, said: null, ignored: '' };

/** A judge, and how often it judged. */
function counted(most = 8) {
  let judgements = 0;
  const judge = remembering(
    ({ name, log, said }: Shown, at: number) => ({
      name,
      log: keyed(log === null ? [] : [log.digest], log),
      said,
      at: whenMade(at),
    }),
    ({ name, log, said, at }) => {
      judgements += 1;
      if (said === 'nothing') return null;
      return { text: `${name} ${log.value?.lines.join()} ${said}`, at: at.value };
    },
    { slot: ({ name }) => name, most },
  );
  return { judge, judgements: () => judgements };
}

describe('a judge that remembers', () => {
  it('gives the same judgement for the same, as it was when it was made', () => {
    const { judge, judgements } = counted();
    const first = judge(shown, 1);
    assert.equal(judge({ ...shown, log: { digest: 'ab', lines: ['x'] }, ignored: 'another' }, 2), first);
    assert.deepEqual([first?.at, judgements()], [1, 1]);
  });

  it('judges anew what differs in one member', () => {
    const others: readonly Partial<Shown>[] = [
      { log: { digest: 'cd', lines: ['y'] } },
      { log: null },
      { said: '' },
      { said: 'x' },
      { name: 'two' },
    ];
    for (const other of others) {
      const { judge, judgements } = counted();
      judge(shown, 0);
      const anew = judge({ ...shown, ...other }, 0);
      assert.deepEqual(anew, counted().judge({ ...shown, ...other }, 0), JSON.stringify(other));
      assert.equal(judgements(), 2);
    }
  });

  it('takes no words of one key for those of another', () => {
    const judge = remembering(
      (a: readonly string[], b: readonly string[]) => ({ a: keyed(a, a), b: keyed(b, b) }),
      ({ a, b }) => [a.value.length, b.value.length],
      { slot: () => '', most: 1 },
    );
    assert.deepEqual(judge(['x'], ['y', 'z']), [1, 2]);
    assert.deepEqual(judge(['x', 'y'], ['z']), [2, 1]);
  });

  it('remembers so many, no null, and nothing where it is to remember nothing', () => {
    const { judge, judgements } = counted(1);
    judge(shown, 0);
    judge({ ...shown, name: 'two' }, 0);
    judge(shown, 0);
    assert.equal(judgements(), 3);
    for (const _ of [1, 2]) assert.equal(judge({ ...shown, said: 'nothing' }, 0), null);
    assert.equal(judgements(), 5);
    const forgetful = counted(0);
    assert.deepEqual(forgetful.judge(shown, 0), forgetful.judge(shown, 0));
    assert.equal(forgetful.judgements(), 2);
  });

  it('does so in steps', () => {
    let judgements = 0;
    const judge = rememberingInSteps(
      (digest: string) => ({ digest }),
      function* ({ digest }) {
        yield;
        judgements += 1;
        return { digest };
      },
      { slot: ({ digest }) => digest, most: 8 },
    );
    const first = atOnce(judge('ab'));
    assert.equal(atOnce(judge('ab')), first);
    assert.deepEqual([atOnce(judge('cd')), judgements], [{ digest: 'cd' }, 2]);
  });

  it('does not compile where it reads what is not compared, or compares what has no key', () => {
    const memory = { slot: () => '', most: 1 };
    remembering(
      ({ name }: Shown) => ({ name }),
      // @ts-expect-error: what the node said is not projected
      ({ said }) => said,
      memory,
    );
    remembering(
      // @ts-expect-error: lines have no key
      ({ log }: Shown) => ({ lines: log?.lines ?? null }),
      ({ lines }) => lines,
      memory,
    );
  });
});

describe('when something expired last', () => {
  it('tells moments apart between which something did, in any order', () => {
    const expiries = [30, 10, Number.POSITIVE_INFINITY, 20];
    const at = lastExpiry(expiries);
    const moments = [0, 9, 10, 19, 20, 29, 30, 1_000, 15, 5];
    const found = moments.map(at);
    const none = Number.NEGATIVE_INFINITY;
    assert.deepEqual(found, [none, none, 10, 10, 20, 20, 30, 30, 10, none]);
    for (const [index, moment] of moments.entries())
      for (const expires of expiries)
        assert.equal((found[index] ?? 0) < expires, moment < expires, `${moment} ${expires}`);
    assert.equal(lastExpiry([])(5), none);
  });
});
