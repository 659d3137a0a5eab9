import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { vouchedKind } from '../../../../../attest-server/policy/boot/initrd/initrd-rules.ts';
import { initrdMakers } from '../../../../../attest-server/policy/boot/initrd/shipped-rules.ts';

describe('what makers of initrds do, as rows', () => {
  for (const { source, seen, ...rows } of initrdMakers)
    describe(source, () => {
      it('says of which versions, and when they were looked at', () => {
        assert.match(source, /\d+\.\d+|dracut \d+/);
        assert.match(seen, /^20\d\d-\d\d-\d\d$/);
        assert.ok(Date.parse(seen) <= Date.now());
        assert.ok(Object.values(rows).flat().length > 0);
      });

      it('speaks of whole paths, and each time of the same ones', () => {
        const paths = [
          ...[rows.moves, rows.links].flatMap((pairs = []) => pairs.flat()),
          ...(rows.made ?? []).map(({ at }) => at),
          ...(rows.texts ?? []).map(([at]) => at),
          ...(rows.units ?? []),
        ];
        for (const { source: pattern, flags } of paths) {
          assert.match(pattern, /^\^/);
          // Attack: a pattern that remembers where it found something finds nothing the next time.
          assert.equal(flags, '');
        }
        for (const [at] of rows.unread ?? []) assert.equal(at.flags, '');
      });

      it('moves a file under its own name, or from one path to one', () => {
        for (const [from, to] of rows.moves ?? []) {
          const hasName = (pattern: RegExp) => pattern.source.includes('(?<name>');
          assert.equal(hasName(from), hasName(to));
          if (!hasName(to)) assert.doesNotMatch(to.source, /[*+[]/);
        }
      });
    });

  it('says of a path that is of both kinds what is shown', () => {
    const of = (path: string) => vouchedKind({ path, mode: 0o100644 });
    assert.equal(of('conf/keyfiles/x')?.isText, true);
    assert.deepEqual(of('etc/dropbear/key'), { what: 'keys', isText: false });
    assert.equal(of('usr/bin/cat'), null);
  });
});
