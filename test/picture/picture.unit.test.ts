import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';

const kept = readFileSync(join(import.meta.dirname, '../../docs/why.svg'), 'utf8');

describe('the picture in README.md', () => {
  it('loads and runs nothing, and says in words what it shows', () => {
    assert.doesNotMatch(kept, /<script|<image|<foreignObject|href|url\(|@import|\son\w+=/i);
    assert.match(kept, /<title id="title">[^<]+<\/title>\n<desc id="description">[^<]+<\/desc>/);
    assert(kept.length < 16_384);
  });
});
