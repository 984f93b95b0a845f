#!/usr/bin/env bash
# What the stages of model.yml do, with the trainer out of its image and the right of `az login`.
set -euo pipefail

main() {
  folder="$AGENT_TEMPDIRECTORY/twinge"
  mkdir --parents "$folder"
  fetch_trainer
  export TWINGE_CHANNEL="$CHANNEL" TWINGE_REGISTRY="$REGISTRY" TWINGE_TRUST="$folder/root.json"
  printf '%s\n' "$ROOT" > "$TWINGE_TRUST"
  jq --exit-status . "$TWINGE_TRUST" > /dev/null
  if [[ -n "${SECRET:-}" ]]; then
    fetch_key
  fi
  # A parameter cannot be empty at Azure Pipelines.
  if [[ "${DIGEST:-}" == "-" ]]; then
    DIGEST=""
  fi
  case "$1" in
    retrain | look | onward | back | promote | recover) "$1" ;;
    *) fail "there is no $1" ;;
  esac
}

fail() {
  echo "##vso[task.logissue type=error]$1"
  exit 1
}

# The digest in the image's name is what makes it the right one.
fetch_trainer() {
  if [[ "$IMAGE" != *@sha256:* ]]; then
    fail "the variable image names no digest"
  fi
  az acr login --name "${IMAGE%%.*}"
  container="$(docker create "$IMAGE")"
  docker cp "$container:/trainer" "$folder/trainer"
  docker rm "$container" > /dev/null
  trainer="$folder/trainer"
  "$trainer" --version
}

fetch_key() {
  export TWINGE_SIGNING_KEY="$folder/signing.key"
  trap 'rm --force "$TWINGE_SIGNING_KEY"' EXIT
  (umask 077 && az keyvault secret download --vault-name "$VAULT" --name "$SECRET" --encoding utf-8 \
    --file "$TWINGE_SIGNING_KEY")
}

retrain() {
  local report="$AGENT_TEMPDIRECTORY/report" code=0
  mkdir --parents "$report"
  if [[ "$BUILD_REASON" == Schedule ]]; then
    REASON=schedule
  fi
  local arguments=(--config "$CONFIG" --lake "$LAKE" --reason "$REASON" --report "$report" --json
    --from "$(date --utc --date "$DAYS days ago" +%Y-%m-%dT%H:%M:%SZ)")
  # Azure Pipelines writes True and False.
  if [[ "${DRY_RUN,,}" == true ]]; then
    arguments+=(--dry-run)
  fi
  "$trainer" retrain "${arguments[@]}" > "$report/retrain.json" || code=$?
  # 3 is a judgement: gates failed, and the report says which. 1 and 2 are failures.
  case "$code" in
    0) ;;
    3) echo "##vso[task.logissue type=warning]judged and not published: gates failed; see the report" ;;
    *) exit "$code" ;;
  esac
  echo "##vso[task.uploadsummary]$report/report.md"
}

look() {
  local decided
  "$trainer" rollout --detector "$DETECTOR" --dry-run --json > "$folder/look.json"
  jq --raw-output '"\(.detector) \(.stage // "nothing is rolled out"): \(.sentence)"' "$folder/look.json"
  decided="$(jq --raw-output .action "$folder/look.json")"
  # A channel's document is believed for 30 days; half of that over is early enough.
  if [[ "$decided" == wait ]] && "$trainer" status --detector "$DETECTOR" --json \
    | jq --exit-status --arg channel "$CHANNEL" \
      '.channels[] | select(.channel == $channel) | now * 1000 > (.issued_ms + .expires_ms) / 2' > /dev/null; then
    decided=renew
  fi
  echo "##vso[task.setvariable variable=action;isOutput=true]$decided"
  echo "##vso[task.setvariable variable=challenger;isOutput=true]$(jq --raw-output '.challenger // ""' "$folder/look.json")"
  echo "##vso[task.setvariable variable=stage;isOutput=true]$(jq --raw-output '.stage // ""' "$folder/look.json")"
}

onward() {
  "$trainer" rollout --detector "$DETECTOR" --dry-run --json > "$folder/now.json"
  if ! jq --exit-status --arg challenger "$CHALLENGER" --arg stage "$STAGE" \
    '.challenger == $challenger and .stage == $stage' "$folder/now.json" > /dev/null; then
    fail "the channel has changed since this was approved: look again"
  fi
  # Decides anew by what devices report now: on, back, or wait.
  "$trainer" rollout --detector "$DETECTOR"
}

back() {
  if [[ "$ACTION" == renew ]]; then
    "$trainer" renew --detector "$DETECTOR"
    return
  fi
  # `rollout` decides anew. If devices report well again it must not go on from here.
  local decided
  decided="$("$trainer" rollout --detector "$DETECTOR" --dry-run --json | jq --raw-output .action)"
  if [[ "$decided" == withdraw ]]; then
    "$trainer" rollout --detector "$DETECTOR"
    echo "##vso[task.logissue type=warning]the challenger was withdrawn"
  fi
}

promote() {
  if [[ -z "$DIGEST" ]]; then
    fail "name the challenger's digest: whoever approves must know what becomes champion"
  fi
  "$trainer" promote --detector "$DETECTOR" --digest "$DIGEST"
}

recover() {
  if [[ "$WHAT" == stop ]]; then
    "$trainer" stop --detector "$DETECTOR"
  elif [[ -n "$DIGEST" ]]; then
    "$trainer" rollback --detector "$DETECTOR" --to "$DIGEST"
  elif (( ATTEMPT > 1 )); then
    # A second attempt would go back once more.
    fail "start the pipeline anew instead of running it again, or name the digest to go back to"
  else
    "$trainer" rollback --detector "$DETECTOR"
  fi
  "$trainer" status --detector "$DETECTOR"
}

main "$@"
