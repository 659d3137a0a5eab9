import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { JudgedStage } from './judged-stage.ts';
import type { ReferencedComponent } from './prepared-components.ts';
import type { JudgedComponent, VouchedBoot } from './vouched-boot.ts';

interface MisplacedStage {
  readonly stage: JudgedStage;
  readonly component: BootComponent;
}

/**
 * Watches in which order a boot measures for the first time what a reference has. Attack: a known kernel is started by
 * another way, and what its loader would have measured is extended by the system later: the right set, in a wrong order.
 */
export class MeasuredOrder {
  /** Both of each pair that stands the other way round. */
  readonly misplaced: MisplacedStage[] = [];
  /** By PCR, the one that stands last in the reference. */
  readonly #last: ({ readonly place: number; readonly measured: MisplacedStage } | undefined)[] = [];

  /** @param pcr of both @param known what of the reference the component is, seen for the first time */
  add(pcr: number, { place, stage }: ReferencedComponent, component: BootComponent): void {
    if (place < 0) return;
    const last = this.#last[pcr];
    const measured = { stage, component };
    if (last === undefined || place > last.place) this.#last[pcr] = { place, measured };
    else this.misplaced.push(last.measured, measured);
  }

  /** Components that the reference has in this stage. */
  of(stage: JudgedStage): readonly BootComponent[] {
    return this.misplaced.flatMap((one) => (one.stage === stage ? one.component : []));
  }
}

/**
 * The first that comes too late, whichever references cover the stages: a loader behind a kernel in PCR 4, a file behind
 * what the kernel's stub measured in PCR 9. Null if all is in order.
 */
export function behindKernel({ judged }: Pick<VouchedBoot, 'judged'>): BootComponent | null {
  let started = false;
  let stub = false;
  for (const { component, stage } of judged) {
    const { pcr } = component;
    if (pcr === 4) {
      if (stage === 'kernel') started = true;
      else if (started && isLoader({ component, stage })) return component;
    } else if (pcr === 9) {
      if (stage === 'cmdline') stub = true;
      else if (stub && (stage === 'loader' || stage === 'kernel')) return component;
    }
  }
  return null;
}

function isLoader({ component, stage }: JudgedComponent): boolean {
  return stage === 'loader' && component.kind === 'code';
}
