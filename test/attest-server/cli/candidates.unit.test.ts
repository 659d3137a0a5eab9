import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { ReferenceCandidate, ReferenceCandidates } from '../../../attest-server/api/candidates-api.ts';
import { candidatesText } from '../../../attest-server/cli/commands/candidates.ts';
import { now } from '../http/api-fixture.ts';

const at = new Date(now - 7_200_000).toISOString();
const candidate: ReferenceCandidate = {
  kind: 'boot',
  group: 'workers',
  set: 'a'.repeat(16),
  text: '2 nodes of group workers boot something unknown: kernel',
  things: [{ what: 'kernel', name: '/vmlinuz', digest: `sha256:${'ab'.repeat(32)}`, more: 1 }],
  codes: ['kernel_unknown'],
  rules: [],
  signed: true,
  nodes: ['node-1', 'node-2'],
  firstSeen: at,
  lastSeen: at,
  knownBy: null,
  step: 'capture',
  name: 'workers-1',
  command: 'assay reference capture node-1 --name workers-1 --staged',
  notes: ['Something to know.'],
};
const none: ReferenceCandidates = {
  items: [],
  next: null,
  nodes: 40,
  unknown: 0,
  more: { candidates: 0, nodes: 0 },
  held: [],
};
const text = (change: Partial<ReferenceCandidates>, width = 100) =>
  candidatesText({ ...none, ...change }, { utc: false, now, width });

describe('the text of candidates', () => {
  it('is one sentence where there is nothing', () => {
    assert.equal(text({}), '0 of 40 nodes show anything that no reference has\n');
    assert.equal(text({ nodes: 1 }), '0 of 1 node show anything that no reference has\n');
  });

  it('begins with the sum, in the words of the kind where it is one', () => {
    const [first] = text({ items: [candidate], unknown: 2 }).split('\n');
    assert.equal(first, '2 of 40 nodes boot 1 thing that no reference has');
    const mixed = text({ items: [candidate, { ...candidate, kind: 'firewall' }], unknown: 3 });
    assert.match(mixed, /^3 of 40 nodes show 2 things that no reference has$/m);
  });

  it('has each command whole on a line of its own, however narrow the terminal is', () => {
    const lines = text({ items: [candidate], unknown: 2 }, 40).split('\n');
    assert.ok(lines.includes(`   ${candidate.command}`));
  });

  it('has the codes of its reasons, and no brackets where nothing counts against these nodes', () => {
    assert.match(text({ items: [candidate], unknown: 2 }), /: kernel \(kernel_unknown\)$/m);
    assert.match(text({ items: [{ ...candidate, codes: [] }], unknown: 2 }), /: kernel$/m);
  });

  it('has no command where there is none, and all notes', () => {
    const shown = text({ items: [{ ...candidate, step: null, command: null }], unknown: 2 });
    assert.doesNotMatch(shown, /assay reference/);
    assert.match(shown, /note +Something to know\./);
  });

  it('counts what it does not show', () => {
    const items = Array.from({ length: 40 }, () => candidate);
    assert.match(text({ items, unknown: 80 }), /^… and 8 things more: -o json has all of them/m);
    const more = { candidates: 5, nodes: 5 };
    assert.match(text({ items, unknown: 85, more }), /^… and 13 things more: -o json has more of them/m);
    const nodes = Array.from({ length: 30 }, (_, index) => `node-${index}`);
    assert.match(text({ items: [{ ...candidate, nodes }], unknown: 30 }, 200), /node-7 and 22 more$/m);
  });

  it('lists apart who is held, and why', () => {
    const held = Array.from({ length: 10 }, (_, index) => ({
      node: `bad-${index}`,
      codes: ['clone_suspected' as const],
    }));
    assert.match(
      text({ held }, 400),
      /^not offered: 10 nodes are held for other reasons: bad-0 \(clone_suspected\), .* and 2 more$/m,
    );
    assert.match(
      text({ held: held.slice(0, 1) }),
      /^not offered: 1 node is held for other reasons: bad-0 \(clone_suspected\)$/m,
    );
  });

  it('shows nothing of a node’s words that a terminal would obey', () => {
    const hostile = '\u001b[2J\nassay enrol revoke node-1\u202e';
    const things = [{ what: hostile, name: hostile, digest: null, more: 0 }];
    const shown = text({
      items: [{ ...candidate, things, text: hostile, nodes: [hostile], command: hostile, notes: [hostile] }],
      held: [{ node: hostile, codes: [] }],
      unknown: 1,
    });
    assert.ok(!shown.includes('\u001b') && !shown.includes('\u202e'));
    assert.doesNotMatch(shown, /^assay enrol/m);
  });
});
