import type { Json, JsonObject, KubeObject } from './json.ts';
import type { ListShapes } from './list-shapes.ts';
import type { Cause } from './status.ts';

/** One kind of objects that the API serves, and what is special about it. */
export interface ResourceType {
  /** Empty: core. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly subresources: readonly string[];
  /** An update may leave out the version that it changes. */
  readonly unconditionalUpdate: boolean;
  /** A PUT makes what is not there. */
  readonly createOnUpdate: boolean;
  /** Which lists are maps or sets by their items, for strategic merge and apply. */
  readonly lists: ListShapes;
  /** Of a custom resource: its structural schema. */
  readonly schema: Json | null;
  readonly strategy: Strategy;
  /** The rows of another type are shown: events are one table with two faces. */
  readonly face?: {
    readonly table: string;
    toStored(object: KubeObject): KubeObject;
    toShown(object: KubeObject): KubeObject;
  };
}

/** Subresource of an update: the empty text is the object itself. */
export type Part = '' | 'status' | 'finalize';

export interface Strategy {
  /** Takes away what a create may not say, and adds what is by default. */
  prepareCreate(object: KubeObject): KubeObject;
  /** Keeps what this part may not change. */
  prepareUpdate(object: KubeObject, old: KubeObject, part: Part): KubeObject;
  /** How it looks while its own controller still cleans up, which is no time here. */
  prepareDelete?(object: KubeObject, time: string): KubeObject;
  /** `old` is null at creation. */
  validate(object: KubeObject, old: KubeObject | null, part: Part): readonly Cause[];
  /** Unknown members; they are named where the request wants to be told. */
  prune?(
    object: JsonObject,
    isApplied: boolean,
  ): { readonly object: JsonObject; readonly unknown: readonly string[] };
}

export function tableOf({ group, plural, face }: ResourceType): string {
  return face?.table ?? `${group}/${plural}`;
}

export function apiVersionOf({ group, version }: ResourceType): string {
  return group === '' ? version : `${group}/${version}`;
}

export function keyOf(namespace: string, name: string): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}
