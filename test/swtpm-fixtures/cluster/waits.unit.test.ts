import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { createNarrator } from '../../../swtpm-fixtures/cluster/narrator.ts';
import { createWaits } from '../../../swtpm-fixtures/cluster/waits.ts';

/** However busy the machine is: the number of seconds is what is left by then. */
async function until(said: readonly string[], count: number): Promise<readonly string[]> {
  while (said.length < count) await sleep(10);
  return said.map((sentence) => sentence.replace(/\b[1-9]\d* s\.$/, 'N s.'));
}

describe('a wait of the story', () => {
  it('is spoken of once after a silence, the latest first, with how long it may take', async () => {
    const said: string[] = [];
    const waits = createWaits((sentence) => said.push(sentence), 100);
    using _outer = waits.begin('the story', 120_000);
    using _inner = waits.begin('node-1 to boot', 60_000);
    assert.deepEqual(await until(said, 2), [
      'Waiting for node-1 to boot: this may take up to N s.',
      'Waiting for the story: this may take up to N s.',
    ]);
    await sleep(500);
    assert.equal(said.length, 2);
  });

  it('is not spoken of where it ended, or where something was said in between', async () => {
    const said: string[] = [];
    const waits = createWaits((sentence) => said.push(sentence), 1_000);
    {
      using _short = waits.begin('node-1 to boot', 60_000);
    }
    using _told = waits.begin('node-2 to boot', 60_000);
    const speaking = setInterval(() => waits.spoke(), 50);
    await sleep(2_000);
    clearInterval(speaking);
    assert.deepEqual(said, []);
    assert.deepEqual(await until(said, 1), ['Waiting for node-2 to boot: this may take up to N s.']);
  });

  it('is spoken of by default after three seconds, and never to programs', async () => {
    const [text, json]: [string[], string[]] = [[], []];
    const begun = performance.now();
    using _told = createNarrator('text', { write: (line) => text.push(line) }).waiting('node-1', 20_000);
    using _never = createNarrator('json', { write: (line) => json.push(line) }).waiting('node-1', 20_000);
    while (text.length === 0) await sleep(10);
    assert.ok(performance.now() - begun > 2_900);
    assert.match(text.join(''), /^ +\d+\.\d s {2}Waiting for node-1: this may take up to 1?\d s\.\n$/);
    assert.deepEqual(json, []);
  }).timeout(20_000);
});
