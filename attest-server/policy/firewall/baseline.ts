import { endpointInterfaces } from './host-endpoint.ts';
import { portsSpokenOf } from './opened.ts';
import type { Owner } from './owners/owner.ts';
import { withoutOwned } from './owners/without-owned.ts';
import type { Ranges } from './ranges.ts';
import { comparedOf } from './read-ruleset.ts';
import type { Ruleset } from './ruleset.ts';

/** A reference, its rules read. */
export interface Baseline {
  readonly name: string;
  /** `comparedOf`, and what owners of the policy write, too. */
  readonly ruleset: Ruleset;
  /** Without that. @param isHeld whether the node says which addresses are its own */
  readonly compared: (isHeld: boolean) => Ruleset;
  readonly spokenOf: () => Ranges;
  /** Of Calico's host endpoints. */
  readonly interfaces: readonly string[];
}

export function baselineOf(name: string, ruleset: Ruleset, owners: readonly Owner[]): Baseline {
  let ports: Ranges | null = null;
  const compared = comparedOf(ruleset);
  const without = new Map<boolean, Ruleset>();
  return {
    name,
    ruleset: compared,
    compared: (isHeld) => {
      const known = without.get(isHeld);
      if (known !== undefined) return known;
      // To whom packets may be sent, the node decides: on it the same rule may lead to itself.
      const made = withoutOwned(compared, owners, isHeld ? () => true : null);
      without.set(isHeld, made);
      return made;
    },
    interfaces: endpointInterfaces(compared),
    spokenOf: () => {
      ports ??= portsSpokenOf(ruleset);
      return ports;
    },
  };
}

/** A reference that somebody revoked. */
export interface RevokedBaseline extends Baseline {
  /** Who, when and why, in words. */
  readonly revocation: string;
}
