import { preloading } from '../../agent/unlock/process-memory.ts';

/** Where a server is killed as it writes. */
export interface Cut {
  /** Of a statement: begin of its text. */
  readonly sql: string;
  /** Such statements, and commits of a transaction that has some, count as steps, from 1. */
  readonly step: number;
  readonly when: 'before' | 'after';
}

/** Environment of a server that kills itself (SIGKILL) at this step. */
export function killedAt({ sql, step, when }: Cut): Readonly<Record<string, string>> {
  return preloading(
    [
      "import { StatementSync } from 'node:sqlite'",
      `let [left, touched] = [${step}, false]`,
      "const die = () => process.kill(process.pid, 'SIGKILL')",
      `for (const name of ['run', 'all', 'get', 'iterate']) {
        const does = StatementSync.prototype[name]
        StatementSync.prototype[name] = function (...values) {
          const text = this.sourceSQL
          if (text.startsWith('begin')) touched = false
          const isIts = text.startsWith(${JSON.stringify(sql)})
          touched ||= isIts
          if (!isIts && !(touched && text === 'commit')) return does.apply(this, values)
          left -= 1
          if (left === 0 && ${when === 'before'}) die()
          const result = does.apply(this, values)
          if (left === 0) die()
          return result
        }
      }`,
    ].join(';\n'),
  );
}
