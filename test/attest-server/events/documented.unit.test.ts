import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { auditActions } from '../../../attest-server/formats/audit.ts';
import { eventMessage, eventNames, loggedEvents } from '../../../attest-server/formats/event.ts';

const docs = join(import.meta.dirname, '..', '..', '..', 'docs');
const page = readFileSync(join(docs, 'events.md'), 'utf8');

/** The names of the first column of a section's table. */
function namesIn(heading: string): readonly string[] {
  const section = page.split(/\n(?=## )/).find((each) => each.startsWith(`## ${heading}\n`)) ?? '';
  return [...section.matchAll(/^\| (`.+?`) \|/gm)].flatMap(([, cell = '']) =>
    cell.split(', ').map((name) => name.replaceAll('`', '')),
  );
}

describe('docs/events.md', () => {
  it('has each event once', () => {
    assert.deepEqual([...namesIn('The events')].sort(), [...eventNames].sort());
  });

  it('has each member of a message once', () => {
    assert.deepEqual(namesIn('The message'), [
      ...['id', 'at', 'event', 'cluster', 'node', 'subject', 'state', 'from', 'reasons', 'moreReasons'],
      ...['text', 'by', 'detail', 'next'],
    ]);
    assert.deepEqual([...namesIn('The message')].sort(), Object.keys(eventMessage.shape).sort());
  });
});

describe('an event', () => {
  it('is made of an action of the audit log, and no two of the same', () => {
    const actions = Object.values(loggedEvents).map(({ action }) => action);
    assert.equal(new Set(actions).size, actions.length);
    for (const action of actions) assert.ok(action in auditActions, action);
  });
});
