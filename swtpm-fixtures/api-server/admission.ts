import type { KubeObject } from './json.ts';
import type { ResourceType } from './resource-type.ts';
import type { User } from './users.ts';

/** A write that is about to happen, as admission sees it. */
export interface Attempt {
  readonly user: User;
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  readonly type: ResourceType;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** Null: it is deleted. */
  readonly object: KubeObject | null;
  /** Null: it is created. */
  readonly old: KubeObject | null;
  readonly dryRun: boolean;
}

/** What looks at each write after authorization. */
export interface Admission {
  /** Before the object is validated. @throws ApiError */
  admit(attempt: Attempt): void;
  /** Afterwards. @returns warnings for whoever asks @throws ApiError */
  validate(attempt: Attempt): readonly string[];
}
