import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli-fixture.ts';

const vectors = join(import.meta.dirname, '../../../../swtpm-fixtures/vectors');
const expected = z.object({ references: z.string() });

/** What `assay verify` prints of an attack, on one line. */
async function shownOf(vector: string): Promise<string> {
  const at = join(vectors, vector);
  const { references } = expected.parse(JSON.parse(readFileSync(join(at, 'expected.json'), 'utf8')));
  const words = ['verify', join(at, 'bundle.json'), '--policy', join(at, 'policy.yaml')];
  const { out } = await runAssay([...words, '--references', join(vectors, 'references', references)]);
  return out.replaceAll(/\s+/g, ' ');
}

describe('the first line of a reason', () => {
  it('says that another list of machine owner keys was measured, and names no key that it cannot know', async () => {
    const shown = await shownOf('40-machine-owner-key');
    assert.match(shown, /event 28 in PCR 14 measured another list of machine owner keys than in reference/);
    assert.doesNotMatch(shown, /without the key/);
  });

  it('says that shim checks no signatures, whatever the policy', async () => {
    const shown = await shownOf('40-validation-off');
    assert.match(
      shown,
      /secureboot_policy: shim checks no signatures \(MokSBState = 01\): event 32 in PCR 14/,
    );
  });

  it('says of a PCR that was extended behind a whole log that something is in no log', async () => {
    assert.match(
      await shownOf('109-extended-by-a-pod'),
      /PCR 7 \(sha256\): something was extended that is in no log/,
    );
  });

  it('tells one log that does not fit as one cause, and leaves no PCR out (row 406)', async () => {
    const shown = await shownOf('33-tail-cut');
    assert.equal(shown.match(/component boot log/g)?.length, 1);
    assert.equal(shown.match(/ so log_replay_mismatch: /g)?.length, 2);
  });
});

describe('a boot log that cannot be read', () => {
  const log = recordedLog('debian13-shim-grub');
  const { raw } = parseEventLog(log);
  for (const event of [1, 7, raw.count - 1])
    it(`ends within event ${event}, where it was cut there`, () => {
      const within = raw.ends[event]! - 1;
      assert.throws(() => parseEventLog(log.subarray(0, within)), {
        code: 'malformed',
        message: new RegExp(`^the boot log ends within event ${event}: `),
      });
    });

  for (const bytes of [
    Buffer.from('{"version": 1}'),
    Buffer.alloc(40, 0x41),
    Buffer.alloc(0),
    log.subarray(0, 40),
  ])
    it(`is no boot log where it is ${bytes.length} bytes of something else`, () => {
      assert.throws(() => parseEventLog(bytes), { code: 'malformed', message: /^this is no boot log: / });
    });
});
