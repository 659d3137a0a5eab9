import { limits } from '../wire/limits.ts';
import { DiskBudget } from './disk-budget.ts';
import { LogsPerBoot } from './logs-per-boot.ts';

/** Bytes that one node may have us keep. */
export class NodeBudgets {
  readonly answers: DiskBudget;
  /** Of files that its loader read. */
  readonly files: DiskBudget;
  readonly logs: LogsPerBoot;

  /** @param challengeEvery milliseconds from one challenge of a node to the next */
  constructor(node: string, challengeEvery: number) {
    this.answers = new DiskBudget(node, challengeEvery);
    this.files = new DiskBudget(node, challengeEvery, limits.loaderFiles.bytes);
    this.logs = new LogsPerBoot(node);
  }
}
