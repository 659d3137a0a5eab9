import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { createLiveTable } from '../../../swtpm-fixtures/cluster/live-table.ts';

describe('the table below the story', () => {
  it('changes in place, and each event stays above it', () => {
    const { screen, shown } = terminal(80, 24);
    const table = createLiveTable(screen, () => true);
    table.write('begin\n');
    table.set('node-1', 'pending', 'no_reference');
    table.write('first\n');
    table.set('node-1', 'trusted', undefined);
    table.set('node-10', 'pending', 'no_reference');
    table.set('node-2', 'untrusted', 'kernel_unknown');
    table.write('second\nand its output\n');
    assert.deepEqual(shown(), [
      ...['begin', 'first', 'second', 'and its output', ''],
      'NAME     STATE        REASON',
      'node-1   trusted      -',
      'node-2   untrusted    kernel_unknown',
      'node-10  pending      no_reference',
    ]);
  });

  it('shows the worst of more nodes than half of the screen holds', () => {
    const { screen, shown } = terminal(80, 14);
    const table = createLiveTable(screen, () => true);
    for (let at = 1; at <= 64; at += 1) table.set(`node-${at}`, 'trusted', undefined);
    table.set('node-40', 'unknown', 'evidence_overdue');
    table.set('node-50', 'untrusted', 'kernel_unknown');
    table.write('told\n');
    assert.deepEqual(shown(), [
      ...['told', ''],
      'NAME     STATE        REASON',
      'node-50  untrusted    kernel_unknown',
      'node-40  unknown      evidence_overdue',
      'node-1   trusted      -',
      'node-2   trusted      -',
      'and 60 more: npx assay get nodes',
    ]);
  });

  it('is left away on a screen that is too small for it', () => {
    for (const [columns, rows] of [
      [19, 24],
      [80, 7],
    ] as const) {
      const { screen, shown } = terminal(columns, rows);
      const table = createLiveTable(screen, () => true);
      table.set('node-1', 'trusted', undefined);
      table.write('told\n');
      assert.deepEqual(shown(), ['told']);
    }
  });

  it('never erases what others wrote below it', () => {
    const { screen, shown } = terminal(80, 24);
    let isOurs = true;
    const table = createLiveTable(screen, () => isOurs);
    table.set('node-1', 'trusted', undefined);
    table.write('told\n');
    screen.write('tamper node-1 kernel\n');
    table.leave();
    table.write('obeyed\n');
    isOurs = false;
    screen.write('$ ls\n');
    table.write('in the background\n');
    const drawn = ['', 'NAME    STATE        REASON', 'node-1  trusted      -'];
    assert.deepEqual(shown(), [
      ...['told', ...drawn, 'tamper node-1 kernel', 'obeyed', ...drawn],
      ...['$ ls', 'in the background'],
    ]);
  });

  it('keeps every event whatever the size of the terminal becomes', () => {
    const states: readonly NodeState[] = ['trusted', 'untrusted', 'pending', 'unknown'];
    const step = fc.record({
      columns: fc.integer({ min: 0, max: 120 }),
      rows: fc.integer({ min: 0, max: 40 }),
      node: fc.integer({ min: 1, max: 12 }),
      state: fc.constantFrom(...states),
      text: fc.stringMatching(/^[a-z ]{1,150}$/),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { screen, resize, shown } = terminal(80, 24);
        const table = createLiveTable(screen, () => true);
        for (const [at, { columns, rows, node, state, text }] of steps.entries()) {
          resize(columns, rows);
          table.set(`node-${node}`, state, 'a_reason');
          table.write(`${at}: ${text}\n`);
        }
        const whole = shown().join('\n');
        for (const [at, { text }] of steps.entries())
          assert.ok(whole.includes(`${at}: ${text}`.trimEnd()), `${at}: ${text}`);
      }),
    );
  });
});

/** What takes lines off the terminal, or a line. */
const esc = '\u001b';
const codes = new RegExp(`\\r${esc}\\[(\\d+)A${esc}\\[J|([^\\r\\n]*)\\n`, 'gy');

/** A terminal that folds no lines and keeps all that went up: what stands on it, and where the cursor is. */
function terminal(columns: number, rows: number) {
  const size = { columns, rows };
  const lines: string[] = [];
  let at = 0;
  return {
    screen: {
      write(text: string) {
        for (const [, up, line] of text.matchAll(codes))
          if (up === undefined) {
            lines[at] = line ?? '';
            at += 1;
          } else {
            at -= Number(up);
            assert.ok(at >= 0 && Number(up) <= Math.max(rows, 40), 'above the screen');
            lines.length = at;
          }
      },
      get columns() {
        return size.columns;
      },
      get rows() {
        return size.rows;
      },
    },
    resize: (wide: number, high: number) => Object.assign(size, { columns: wide, rows: high }),
    shown: () => lines.map((line) => line.trimEnd()),
  };
}
