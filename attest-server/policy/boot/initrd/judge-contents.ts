import { atOnce } from '../../../formats/in-steps.ts';
import { isImageOf } from '../../../formats/initrd-manifest.ts';
import type { Reference } from '../../../formats/reference.ts';
import type { BootComponent } from '../../../verify/boot/boot-state.ts';
import type { ReadInitrd } from '../../../verify/read-initrd.ts';
import { filePcr } from '../../../wire/loader-files.ts';
import type { Finding } from '../../finding.ts';
import { lastExpiry } from '../../last-expiry.ts';
import { type ListedFiles, listedFiles, longestFirst } from '../../listed-files.ts';
import { keyed, rememberingInSteps } from '../../remembering.ts';
import type { UnknownThings } from '../../unknown.ts';
import type { BootRules } from '../rules.ts';
import type { VouchedBoot } from '../vouched-boot.ts';
import { faultyInitrd, revokedFile, unknownFiles, unseenInitrd } from './findings.ts';
import { type InitrdLists, type JudgedInitrd, judgeInitrd } from './judge-initrd.ts';
import { unknownInInitrds } from './unknown.ts';

/** The judgement of a boot's initrds by their content. */
export interface JudgedContents {
  readonly findings: readonly Finding[];
  /** Whether all of every initrd that its loader read is known. */
  readonly affirmed: boolean;
  /** Names of the references that know files in them. */
  readonly references: readonly string[];
  /** Files in them that no list in force has. */
  readonly unknown: UnknownThings | null;
}

/** Judges initrds by the lists of one group; an image that many boots have is judged once. */
export class InitrdJudge {
  readonly #references: readonly Reference[];
  #lists: InitrdLists | null = null;
  /** When active references expire, those that do: milliseconds since the epoch. */
  readonly expiries: readonly number[];
  readonly #judge: (initrd: ReadInitrd, at: number) => Generator<void, JudgedInitrd>;

  /** @param references of kind `runtime`, in every state */
  constructor(references: readonly Reference[], group: string, rules: Pick<BootRules, 'references'>) {
    this.#references = references.filter(
      ({ kind, name, group: its }) =>
        kind === 'runtime' && (its === group || rules.references?.includes(name) === true),
    );
    this.expiries = this.#references
      .filter(({ state }) => state === 'active')
      .flatMap(({ expires }) => (expires === null ? [] : [Date.parse(expires)]));
    const expiredAt = lastExpiry(this.expiries);
    this.#judge = rememberingInSteps(
      (initrd, at) => ({ image: keyed([initrd.image.sha256], initrd), expiredBy: expiredAt(at) }),
      ({ image, expiredBy }) => this.#judgeAnew(image.value, expiredBy),
      { slot: ({ image }) => image.value.image.sha256, most: mostImages },
    );
  }

  /** The slow part of judging, in steps of some milliseconds. @param at milliseconds since the epoch */
  *ahead(initrds: readonly ReadInitrd[], at: number): Generator<void> {
    for (const initrd of initrds) yield* this.#judge(initrd, at);
  }

  /** @param waits why no manifest is here, for a person; null: nobody said */
  judge(boot: VouchedBoot, initrds: readonly ReadInitrd[], waits: string | null, at: number): JudgedContents {
    const components = boot.judged.flatMap(({ component, stage }) =>
      stage === 'initrd' && component.pcr === filePcr ? [component] : [],
    );
    const seen = new Map<ReadInitrd, SeenInitrd>();
    let unseen: BootComponent | null = null;
    for (const component of components) {
      const initrd = initrds.find((one) => isImageOf(one.image, component));
      if (initrd === undefined) unseen ??= component;
      else if (!seen.has(initrd)) seen.set(initrd, { component, judged: atOnce(this.#judge(initrd, at)) });
    }
    const all = [...seen.values()];
    const faulty = all.find(({ judged }) => judged.faults.length > 0);
    const findings = [
      ...(faulty === undefined ? [] : [faultyInitrd(boot, faulty.component, faulty.judged.faults)]),
      ...all.flatMap(({ component, judged: { revoked } }) =>
        revoked === null ? [] : [revokedFile(boot, component, revoked)],
      ),
      ...all.flatMap(({ component, judged }) => {
        const [first] = judged.unknown;
        return first === undefined ? [] : [unknownFiles(boot, component, first, judged)];
      }),
      ...(unseen === null ? [] : [unseenInitrd(boot, unseen, waits)]),
    ];
    const names = new Set(all.flatMap(({ judged }) => [...judged.listed.keys()]));
    return {
      findings,
      affirmed: findings.length === 0,
      references: [...names],
      unknown: unknownInInitrds(all.map(({ judged }) => judged)),
    };
  }

  *#judgeAnew(initrd: ReadInitrd, expiredBy: number): Generator<void, JudgedInitrd> {
    const lists = yield* this.#ready();
    const active = lists.active.filter(({ expires }) => expiredBy < expires);
    const idle = [...lists.idle, ...lists.active.filter(({ expires }) => expiredBy >= expires)];
    return yield* judgeInitrd(yield* initrd.whole(), { ...lists, active, idle });
  }

  /** A list is long: it is prepared when the first image comes that is compared with it. */
  *#ready(): Generator<void, InitrdLists> {
    if (this.#lists !== null) return this.#lists;
    const inState: Record<Reference['state'], ListedFiles[]> = {
      active: [],
      revoked: [],
      retired: [],
      staged: [],
    };
    for (const reference of this.#references) {
      const listed = yield* listedFiles(reference);
      if (listed !== null) inState[reference.state].push(listed);
    }
    const { active, revoked, retired, staged } = inState;
    this.#lists = { active: active.sort(longestFirst), revoked, idle: [...staged, ...retired] };
    return this.#lists;
  }
}

/** Images that are remembered: those of a fleet in which each host makes its own. */
const mostImages = 8192;

/** One that its loader read, and as what it was measured first. */
interface SeenInitrd {
  readonly component: BootComponent;
  readonly judged: JudgedInitrd;
}
