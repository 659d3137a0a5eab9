import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { parseUserSpaceLog } from '../../../attest-server/verify/tpm/user-space-log.ts';
import { parseFacts } from '../../../attest-server/wire/facts.ts';
import { namesPrototype } from '../../../attest-server/wire/prototype-key.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const vectors = join(import.meta.dirname, '../../../swtpm-fixtures/vectors');
const bundle = readFileSync(join(vectors, 'control-version-2', 'bundle.json'), 'utf8');
const facts = JSON.stringify({
  purpose: 'attest',
  node: 'node-1',
  bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
  helloDigest: 'ab'.repeat(32),
});
const member = '"__proto__": {"x": 1}';
const within = (text: string, at: string) => text.replace(at, `${member}, ${at}`);

describe('a text that names __proto__', () => {
  it('is malformed, whatever it is (row 131)', () => {
    const texts: readonly (readonly [string, () => unknown])[] = [
      ['bundle', () => parseBundle(`{${member}, ${bundle.trimStart().slice(1)}`)],
      ['bundle, within', () => parseBundle(within(bundle, '"nonce"'))],
      ['facts', () => parseFacts(within(facts, '"purpose"'))],
      ['log of user space', () => parseUserSpaceLog(Buffer.from(`\x1e{${member}, "pcr": 11}\n`))],
    ];
    for (const [what, parse] of texts) assert.equal(rejectionOf(parse)?.code, 'malformed', what);
    parseBundle(bundle);
    parseFacts(facts);
  });

  it('is found at any depth and spelling, and no value is taken for a name', () => {
    const deep = `${'['.repeat(100_000)}{${member}}${']'.repeat(100_000)}`;
    for (const text of [`{${member}}`, `[{"a": [{${member}}]}]`, '{"\\u005f_proto__": 1}', deep])
      assert.equal(namesPrototype(text, JSON.parse(text)), true, text.slice(0, 40));
    for (const text of ['"__proto__"', '["__proto__"]', '{"a": "\\u005f_proto__"}', 'null'])
      assert.equal(namesPrototype(text, JSON.parse(text)), false, text);
  });
});
