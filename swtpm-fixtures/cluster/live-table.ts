import type { NodeState } from '../../attest-server/wire/verdict.ts';

/** A terminal; its size may change at any time. */
export interface Screen {
  write(text: string): unknown;
  /** 0 where the terminal does not say it. */
  readonly columns: number;
  readonly rows: number;
}

/** Lines that go up, and below them a table that changes in place. */
export interface LiveTable {
  /** Prints whole lines above the table. */
  write(text: string): void;
  /** What the table says of a node from the next line on. */
  set(node: string, state: NodeState, reason: string | undefined): void;
  /** Others wrote below the table: it stays as it is, and the next one is drawn below that. */
  leave(): void;
}

/** In the order in which a person looks at them. */
const worstFirst: readonly NodeState[] = ['untrusted', 'unknown', 'pending', 'unsupported', 'trusted'];

/** @param isOurs whether the terminal is ours now; where it is not, lines are printed alone */
export function createLiveTable(screen: Screen, isOurs: () => boolean): LiveTable {
  const nodes = new Map<string, { readonly state: NodeState; readonly reason: string }>();
  let drawn: readonly string[] = [];
  return {
    write(text) {
      const columns = screen.columns || 80;
      const isLive = isOurs();
      // A terminal that became narrower may have folded the lines: then nobody knows how many there are.
      const isWhole = drawn.length > 0 && drawn.every((line) => line.length < columns);
      const erased = isLive && isWhole ? `\r\u001b[${drawn.length}A\u001b[J` : '';
      drawn = isLive ? linesFor(columns, screen.rows || 24) : [];
      screen.write(erased + text + drawn.map((line) => `${line}\n`).join(''));
    },
    set(node, state, reason) {
      nodes.set(node, { state, reason: reason ?? '-' });
    },
    leave() {
      drawn = [];
    },
  };

  /** Half of the screen at most, where the worst stand; nothing on a screen that is too small for it. */
  function linesFor(columns: number, rows: number): readonly string[] {
    const most = Math.floor(rows / 2) - 2;
    if (nodes.size === 0 || most < 2 || columns < 20) return [];
    const byName = [...nodes].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
    const isWhole = byName.length <= most;
    const shown = isWhole
      ? byName
      : byName
          .sort(([, a], [, b]) => worstFirst.indexOf(a.state) - worstFirst.indexOf(b.state))
          .slice(0, most - 1);
    const lines = [
      ['NAME', 'STATE', 'REASON'] as const,
      ...shown.map(([name, { state, reason }]) => [name, state, reason] as const),
    ];
    const widest = Math.max(...lines.map(([name]) => name.length));
    const text = lines.map(
      ([name, state, reason]) => `${name.padEnd(widest)}  ${state.padEnd(11)}  ${reason}`,
    );
    const more = isWhole ? [] : [`and ${nodes.size - shown.length} more: npx assay get nodes`];
    return ['', ...text, ...more].map((line) => line.slice(0, columns - 1));
  }
}
