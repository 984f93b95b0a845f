#!/usr/bin/env bash
# Plans $FOLDER, whose state lies as $STATE_KEY in $STATE_CONTAINER of $STATE_ACCOUNT. Leaves the plan in
# $RUNNER_TEMP/plan and its text in plan.txt, and tells the text's digest and whether there are changes.
# Arguments go to `terraform plan`.
set -euo pipefail
umask 077

# What is of this environment and no secret: names, sizes, addresses.
printf '%s\n' "${VARIABLES:-"{}"}" > "$FOLDER/environment.auto.tfvars.json"

terraform -chdir="$FOLDER" init -no-color \
  -backend-config="storage_account_name=$STATE_ACCOUNT" \
  -backend-config="container_name=$STATE_CONTAINER" \
  -backend-config="key=$STATE_KEY" \
  -backend-config="use_azuread_auth=true"

code=0
terraform -chdir="$FOLDER" plan -no-color -detailed-exitcode -out="$RUNNER_TEMP/plan" "$@" \
  > "$RUNNER_TEMP/plan.log" || code=$?
# 0: nothing to change, 2: something.
case "$code" in
  0) changes=false ;;
  2) changes=true ;;
  *)
    cat "$RUNNER_TEMP/plan.log"
    exit "$code"
    ;;
esac

terraform -chdir="$FOLDER" show -no-color "$RUNNER_TEMP/plan" > plan.txt
{
  echo "digest=$(sha256sum plan.txt | cut --delimiter=' ' --fields=1)"
  echo "changes=$changes"
} >> "$GITHUB_OUTPUT"
