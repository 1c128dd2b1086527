/** Slots of `Account.values`. */
export const AccountValue = {
  /** Time that it may still use in this round, ns; negative: it owes so much. */
  BUDGET_NS: 0,
} as const;

/** Who is served: a VM, with all its queues on one sidecore. */
export class Account {
  /** Its share, against those of others. */
  readonly weight: number;
  /** By `AccountValue`. Not fields: those would be boxed anew at each change. */
  readonly values = new Float64Array(1);
  /** The round in which its budget was renewed. */
  round = -1;

  constructor(weight: number) {
    this.weight = weight;
  }
}
