# What a deployment is like. envs/dev and envs/prod say it for theirs; whatever has a default here is the
# choice for both.

variable "name" {
  type        = string
  description = "What all names begin with."
  default     = "twinge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.name))
    error_message = "name must be 2 to 10 lowercase letters and digits and begin with a letter: storage accounts, which carry it, allow no more."
  }
}

variable "environment" {
  type        = string
  description = "Which environment this is: dev or prod."

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment must be dev or prod: they differ in what is open to the network and in what is kept."
  }
}

variable "location" {
  type        = string
  description = "The region, as `az account list-locations --query [].name` tells it."
  default     = "westeurope"

  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "location must be a region's short name such as westeurope, without spaces and capitals."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags that go on every resource, beside application, environment and managed-by."
  default     = {}

  validation {
    condition     = length(var.tags) <= 40
    error_message = "tags may be 40 at most: Azure allows 50 on a resource, and some are added here."
  }
}

variable "public_access" {
  type        = bool
  description = "Whether services are reached from the internet, by identity. Else they have private endpoints in a network of their own."
  default     = false
  nullable    = false

  validation {
    condition     = !(var.environment == "prod" && var.public_access)
    error_message = "public_access must be false in prod: its services are reached by private endpoints. Take dev for a trial without a network."
  }
}

variable "send_keys" {
  type        = bool
  description = "Whether connection strings exist that may send to Event Hubs, for tools and devices without an identity."
  default     = false
  nullable    = false

  validation {
    condition     = !(var.environment == "prod" && var.send_keys)
    error_message = "send_keys must be false in prod: senders there have identities, and devices go by IoT Hub (iot_hub_units)."
  }
}

variable "address_space" {
  type        = string
  description = "Addresses of the network, where there is one. It must not overlap with networks that are peered."
  default     = "10.60.0.0/16"

  validation {
    condition     = can(cidrhost(var.address_space, 0)) && try(tonumber(split("/", var.address_space)[1]), 32) <= 22
    error_message = "address_space must be a block such as 10.60.0.0/16, with /22 or more addresses: programs and private endpoints have a subnet each."
  }
}

variable "operators" {
  type        = map(string)
  description = "People and groups who operate this: a name for each, and the object id (`az ad signed-in-user show --query id -o tsv`)."
  default     = {}

  validation {
    condition     = alltrue([for id in values(var.operators) : can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", id))])
    error_message = "operators must be object ids such as 00000000-0000-0000-0000-000000000000: `az ad signed-in-user show --query id` tells yours."
  }
}

variable "alert_emails" {
  type        = list(string)
  description = "Who is told of alerts and of the budget."

  validation {
    condition     = length(var.alert_emails) > 0 && alltrue([for email in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "alert_emails must name somebody, as in ops@example.com: an alert that nobody hears of is none."
  }
}

variable "alert_webhooks" {
  type        = map(string)
  description = "Addresses that are called for each alert, by name, in Azure's common alert schema."
  default     = {}

  validation {
    condition     = alltrue([for url in values(var.alert_webhooks) : startswith(url, "https://")])
    error_message = "alert_webhooks must be https addresses."
  }
}

variable "budget" {
  type        = number
  description = "What a month may cost, in the currency of the bill."

  validation {
    condition     = var.budget > 0
    error_message = "budget must be more than 0: docs/deployment.md says what to expect."
  }
}

variable "github_repository" {
  type        = string
  description = "The repository whose workflows push images and take models on, as OWNER/NAME. Null until the keys are in the vault, or for none."
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github_repository))
    error_message = "github_repository must be OWNER/NAME, as in its address."
  }
}

variable "detector" {
  type        = string
  description = "The detector that hosts run: the `name` in its detector.toml."

  validation {
    condition     = can(regex("^[a-z0-9-]{1,64}$", var.detector))
    error_message = "detector must be 1 to 64 characters of a-z, 0-9 and -, as the trainer asks of names."
  }
}

variable "channel" {
  type        = string
  description = "The channel that hosts and devices follow."
  default     = "stable"

  validation {
    condition     = can(regex("^[a-z0-9-]{1,64}$", var.channel))
    error_message = "channel must be 1 to 64 characters of a-z, 0-9 and -, as the trainer asks of names."
  }
}

variable "release" {
  type = object({
    tag        = string
    trust_root = string
  })
  description = "What runs: the tag of the images in their registry, and the text of root.json. Null for the first apply, which makes the places that images, keys and modules go to."
  default     = null

  validation {
    condition     = var.release == null ? true : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.release.tag))
    error_message = "release.tag must be a tag of an image, such as 1.4.0: letters, digits, dots, dashes and underscores."
  }

  validation {
    condition     = var.release == null ? true : can(jsondecode(var.release.trust_root))
    error_message = "release.trust_root must be the text of keys/root.json, as `trainer trust init` wrote it: hosts believe nothing without it."
  }
}

variable "collector_tag" {
  type        = string
  description = "The tag of the collector's image, in the same registry."
  default     = "0.139.0"

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.collector_tag))
    error_message = "collector_tag must be a version such as 0.139.0: one that does not move."
  }
}

variable "throughput_units" {
  type = object({
    least = number
    most  = number
  })
  description = "Throughput units of Event Hubs: how many there are, and how many auto-inflate may make of them. One takes 1 MB or 1000 events a second."

  validation {
    condition     = var.throughput_units.least >= 1 && var.throughput_units.most <= 40 && var.throughput_units.least <= var.throughput_units.most
    error_message = "throughput_units must lie between 1 and 40, and least must not be more than most."
  }
}

variable "partitions" {
  type        = number
  description = "Partitions of the hubs of events and of verdicts. It cannot be changed later, and no more hosts than this can share the work."

  validation {
    condition     = var.partitions >= 1 && var.partitions <= 32 && floor(var.partitions) == var.partitions
    error_message = "partitions must be a whole number between 1 and 32, which is what the standard tier allows."
  }
}

variable "retention_hours" {
  type        = number
  description = "Hours that Event Hubs keeps what it took: as long as hosts may be away without losing an event."

  validation {
    condition     = var.retention_hours >= 24 && var.retention_hours <= 168
    error_message = "retention_hours must lie between 24 and 168: the standard tier keeps events for seven days at most."
  }
}

variable "capture_days" {
  type        = number
  description = "Days for which Event Hubs' own copy of the events is kept, as Avro; null for none, since the lake holds every event. To be decided before the first event."
  default     = null

  validation {
    condition     = var.capture_days == null ? true : var.capture_days >= 1 && var.capture_days <= 3650
    error_message = "capture_days must lie between 1 and 3650, or be null for no copy."
  }
}

variable "replication" {
  type        = string
  description = "How storage keeps copies: LRS in one building, ZRS in three of a region, GZRS in another region too."

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS", "RAGRS", "RAGZRS"], var.replication)
    error_message = "replication must be LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  }

  validation {
    condition     = !(var.environment == "prod" && var.replication == "LRS")
    error_message = "replication must not be LRS in prod: a building that burns would take the registry along. ZRS is the least."
  }
}

variable "deleted_days" {
  type        = number
  description = "Days for which what was deleted in lake and registry can be brought back."

  validation {
    condition     = var.deleted_days >= 1 && var.deleted_days <= 365
    error_message = "deleted_days must lie between 1 and 365: without it a slip of the hand is final."
  }
}

variable "version_days" {
  type        = number
  description = "Days for which earlier versions of the registry's objects are kept."

  validation {
    condition     = var.version_days >= 7 && var.version_days <= 3650
    error_message = "version_days must lie between 7 and 3650: a mistake in a channel must be found before its past is gone."
  }
}

variable "report_days" {
  type        = number
  description = "Days after which the report of a device that no longer writes one is removed."
  default     = 60

  validation {
    condition     = var.report_days >= 7 && var.report_days <= 3650
    error_message = "report_days must lie between 7 and 3650: a device that is away for a week is still part of the fleet."
  }
}

variable "lake_keep_days" {
  type        = number
  description = "Days that the lake keeps; `host lake expire` removes whole ones."

  validation {
    condition     = var.lake_keep_days >= 1 && var.lake_keep_days <= 3650
    error_message = "lake_keep_days must lie between 1 and 3650, and be longer than what trainings look back on."
  }
}

variable "lake_cool_days" {
  type        = number
  description = "Days after which files of the lake move to cheaper storage, which costs more to read."
  default     = 60

  validation {
    condition     = var.lake_cool_days >= 1 && var.lake_cool_days <= 3650
    error_message = "lake_cool_days must lie between 1 and 3650: let it be longer than what trainings look back on."
  }
}

variable "log_retention_days" {
  type        = number
  description = "Days for which logs and metrics are kept."

  validation {
    condition     = contains([30, 60, 90, 120, 180, 270, 365, 550, 730], var.log_retention_days)
    error_message = "log_retention_days must be 30, 60, 90, 120, 180, 270, 365, 550 or 730, which is what Application Insights takes."
  }

  validation {
    condition     = !(var.environment == "prod" && var.log_retention_days < 90)
    error_message = "log_retention_days must be 90 or more in prod: what is asked about is seldom of this week."
  }
}

variable "log_daily_gb" {
  type        = number
  description = "GB of logs and metrics that may be taken in a day; what is beyond is lost, so that a loop that logs costs no fortune."

  validation {
    condition     = var.log_daily_gb >= 0.1 && var.log_daily_gb <= 1000
    error_message = "log_daily_gb must lie between 0.1 and 1000."
  }
}

variable "host" {
  type = object({
    replicas_least = number
    replicas_most  = number
    cpu            = number
    lag_events     = number
  })
  description = "How many hosts there are, how much of a processor each has (and twice as many GiB of memory), and for how many waiting events there is to be one. What came since the last checkpoint counts as waiting: take at least the events a second that one host is to bear, times checkpoint_seconds."

  validation {
    condition     = var.host.replicas_least >= 0 && var.host.replicas_most >= 1 && var.host.replicas_least <= var.host.replicas_most
    error_message = "host.replicas_least must be 0 or more, and not more than host.replicas_most."
  }

  validation {
    condition     = var.host.replicas_most <= var.partitions
    error_message = "host.replicas_most must not be more than partitions: a host without a partition has nothing to do."
  }

  validation {
    condition     = !(var.environment == "prod" && var.host.replicas_least < 2)
    error_message = "host.replicas_least must be 2 or more in prod: with one, its partitions wait whenever it is replaced."
  }

  validation {
    condition     = contains([0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75], var.host.cpu)
    error_message = "host.cpu must be a multiple of 0.25 between 0.5 and 3.75: a replica has 4 processors at most, and a quarter of one is the collector's."
  }

  validation {
    condition     = var.host.lag_events >= 1
    error_message = "host.lag_events must be at least 1: there is a host for each so many events that wait."
  }
}

variable "checkpoint_seconds" {
  type        = number
  description = "Seconds between checkpoints of a partition. Each is three writes that Azure bills; after a crash so many seconds of events are scored again, with the same verdicts and ids."
  default     = 15

  validation {
    condition     = var.checkpoint_seconds >= 1 && var.checkpoint_seconds <= 300
    error_message = "checkpoint_seconds must lie between 1 and 300: until the next checkpoint, events count as waiting."
  }
}

variable "ownership_seconds" {
  type        = number
  description = "Seconds after which the partitions of a host that fell silent are taken over. Every eighth of it, each partition costs a write."
  default     = 60

  validation {
    condition     = var.ownership_seconds >= 10 && var.ownership_seconds <= 3600
    error_message = "ownership_seconds must lie between 10 and 3600."
  }
}

variable "retraining" {
  type = object({
    schedule        = string
    config          = string
    timeout_minutes = optional(number, 120)
    cpu             = optional(number, 2)
  })
  description = "When and how the trainer retrains: a cron expression in UTC, and the text of detector.toml. The retrainer's key is the vault's secret twinge-retrainer-key. Null for no retraining."
  default     = null

  validation {
    condition     = var.retraining == null ? true : can(regex("^([0-9*,/-]+ ){4}[0-9*,/-]+$", var.retraining.schedule))
    error_message = "retraining.schedule must be a cron expression of five parts, such as \"0 3 * * 1\" for Mondays at three."
  }

  validation {
    condition     = var.retraining == null ? true : can(regex("(?m)^name *= *\"${var.detector}\"", var.retraining.config))
    error_message = "retraining.config must be the text of the detector.toml whose name is the variable detector: another detector would be retrained."
  }

  validation {
    condition     = var.retraining == null ? true : var.release != null
    error_message = "retraining wants release: the trainer's image, and the key in the vault, must be there first."
  }
}

variable "device_rights" {
  type        = bool
  description = "Whether enrolled devices are given rights on the registry (docs/trust.md)."
  default     = false
  nullable    = false
}

variable "device_rights_days" {
  type        = number
  description = "Days for which a device may use what it was given."
  default     = 7

  validation {
    condition     = var.device_rights_days > 0 && var.device_rights_days <= 7
    error_message = "device_rights_days must be 7 at most: no delegation key lasts longer."
  }
}

variable "device_poll_seconds" {
  type        = number
  description = "Seconds between looks of a device at its channel. Azure bills each of them: 1000 devices that look every 5 seconds cost more than all hosts."
  default     = 60

  validation {
    condition     = var.device_poll_seconds >= 1 && var.device_poll_seconds <= 86400
    error_message = "device_poll_seconds must lie between 1 and 86400."
  }
}

variable "device_report_seconds" {
  type        = number
  description = "Seconds between reports of a device, if nothing changes."
  default     = 300

  validation {
    condition     = var.device_report_seconds >= 10 && var.device_report_seconds <= 450
    error_message = "device_report_seconds must lie between 10 and 450: a rollout takes a device for silent after 900 seconds (docs/rollout.md), and one report may be lost."
  }
}

variable "iot_hub_units" {
  type        = number
  description = "Units of IoT Hub (S1, 400,000 messages a day each) as devices' way up; 0 for none."
  default     = 0

  validation {
    condition     = var.iot_hub_units >= 0 && var.iot_hub_units <= 200 && floor(var.iot_hub_units) == var.iot_hub_units
    error_message = "iot_hub_units must be a whole number between 0 and 200."
  }
}

variable "learning" {
  type        = bool
  description = "Whether there is a workspace of Azure Machine Learning for MLflow. Without it runs are kept in the registry (docs/experiments.md)."
  default     = false
  nullable    = false
}

variable "online_endpoint" {
  type = object({
    image         = string
    instance_type = optional(string, "Standard_F2s_v2")
    instances     = optional(number, 1)
  })
  description = "The model endpoint as a managed online endpoint of the workspace: an image of the host that has root.json at /etc/twinge. Null for none."
  default     = null

  validation {
    condition     = var.online_endpoint == null ? true : var.learning
    error_message = "online_endpoint wants learning: an endpoint belongs to a workspace."
  }

  validation {
    condition     = var.online_endpoint == null ? true : var.online_endpoint.instances >= 1 && var.online_endpoint.instances <= 20
    error_message = "online_endpoint.instances must lie between 1 and 20."
  }
}

variable "site" {
  type        = bool
  description = "Whether there is the page as a static website. Without public access it is applied from a machine in the network, and seen there alone."
  default     = false
  nullable    = false
}
