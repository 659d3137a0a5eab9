import { type AspectName, aspects } from './verdict.ts';

/** Messages of a connection's peer, by their `type`. */
export type SentType =
  | 'hello'
  | 'activated'
  | 'evidence'
  | 'changed'
  | 'trusts'
  | 'error'
  | 'opened'
  | 'unlocked'
  | 'formatted';

/** The rights of one role: each program that connects is in one. */
interface RoleRow {
  /** The messages that it may send; any other is `role_denied`. */
  readonly sends: readonly SentType[];
  /** The aspects that its answers speak of; of the others they say nothing, for good or ill. */
  readonly proves: readonly AspectName[];
  /** The answers that it gets besides verdicts. */
  readonly gets: readonly ('gateOrder' | 'keyRelease')[];
  /** Whether its answers can make a node trusted. */
  readonly makesTrusted: boolean;
  /** It shows tokens: to join, and that of the cluster. Without them a role enrols only where somebody named its very key. */
  readonly showsTokens: boolean;
  /** It runs for as long as its node does, so that what is told to it is told to the node. */
  readonly stays: boolean;
}

const rows = {
  agent: {
    sends: ['hello', 'activated', 'evidence', 'changed', 'trusts', 'error'],
    proves: aspects,
    gets: [],
    makesTrusted: true,
    showsTokens: true,
    stays: true,
  },
  // It runs before whatever the other aspects are about, and before there is a token.
  gate: {
    sends: ['hello', 'activated', 'evidence', 'error', 'opened'],
    proves: ['identity', 'boot'],
    gets: ['gateOrder'],
    makesTrusted: false,
    showsTokens: false,
    stays: false,
  },
  // It runs before the disks are open: all that it proves is who asks, and what was booted.
  unlock: {
    sends: ['hello', 'activated', 'evidence', 'error', 'unlocked', 'formatted'],
    proves: ['identity', 'boot'],
    gets: ['keyRelease'],
    makesTrusted: false,
    showsTokens: false,
    stays: false,
  },
} satisfies Readonly<Record<string, RoleRow>>;

export type Role = keyof typeof rows;
export const roleNames = Object.keys(rows) as Role[];
/** All that follows from the role of a hello: a new role is a row more. */
export const roles: Readonly<Record<Role, RoleRow>> = rows;

/** The purpose of a role's answers, as their facts say. */
export function purposeOf(role: Role): 'attest' | 'unlock' {
  return roles[role].gets.includes('keyRelease') ? 'unlock' : 'attest';
}
