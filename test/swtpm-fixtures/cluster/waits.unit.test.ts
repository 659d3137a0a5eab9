import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { createNarrator } from '../../../swtpm-fixtures/cluster/narrator.ts';
import { createWaits } from '../../../swtpm-fixtures/cluster/waits.ts';

describe('a wait of the story', () => {
  it('is spoken of once after a silence, the latest first, with how long it may take', async () => {
    const said: string[] = [];
    const waits = createWaits((sentence) => said.push(sentence), 100);
    using _outer = waits.begin('the story', 120_500);
    using _inner = waits.begin('node-1 to boot', 60_000);
    await sleep(1_000);
    assert.deepEqual(said, [
      'Waiting for node-1 to boot: this may take up to 60 s.',
      'Waiting for the story: this may take up to 121 s.',
    ]);
  });

  it('is not spoken of where it ended, or where something was said in between', async () => {
    const said: string[] = [];
    const waits = createWaits((sentence) => said.push(sentence), 1_000);
    {
      using _short = waits.begin('node-1 to boot', 60_000);
    }
    using _told = waits.begin('node-2 to boot', 60_000);
    await sleep(700);
    waits.spoke();
    await sleep(700);
    assert.deepEqual(said, []);
    await sleep(700);
    assert.deepEqual(said, ['Waiting for node-2 to boot: this may take up to 59 s.']);
  });

  it('is spoken of by default after three seconds, and never to programs', async () => {
    const [text, json]: [string[], string[]] = [[], []];
    using _told = createNarrator('text', { write: (line) => text.push(line) }).waiting('node-1', 10_000);
    using _never = createNarrator('json', { write: (line) => json.push(line) }).waiting('node-1', 10_000);
    await sleep(2_500);
    assert.deepEqual(text, []);
    await sleep(1_500);
    assert.match(text.join(''), /^ +3\.\d s {2}Waiting for node-1: this may take up to 7 s\.\n$/);
    assert.deepEqual(json, []);
  }).timeout(10_000);
});
