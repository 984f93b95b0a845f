variable "name" {
  type        = string
  description = "What all names begin with: 2 to 10 lowercase letters and digits."
  default     = "twinge"
}

variable "location" {
  type        = string
  description = "The region, such as westeurope."
  default     = "westeurope"
}

variable "operators" {
  type        = map(string)
  description = "People and groups who operate this: a name for each, and the object id (`az ad signed-in-user show --query id -o tsv`)."
  default     = {}
}

variable "alert_emails" {
  type        = list(string)
  description = "Who is told of alerts and of the budget."
}

variable "budget" {
  type        = number
  description = "What a month may cost, in the currency of the bill."
  default     = 1500
}

variable "detector" {
  type        = string
  description = "The detector that hosts run: the `name` in its detector.toml."
}

variable "github_repository" {
  type        = string
  description = "The repository whose workflows push images and take models on, as OWNER/NAME."
  default     = null
}

variable "release_tag" {
  type        = string
  description = "The tag of the images; left out, or empty, in the first apply."
  default     = null
}

variable "trust_root_file" {
  type        = string
  description = "root.json, as `trainer trust init` wrote it."
  default     = "root.json"

  validation {
    condition     = try(length(var.release_tag), 0) == 0 || var.trust_root != null || fileexists(var.trust_root_file)
    error_message = "trust_root_file must name root.json, as `trainer trust init` wrote it: hosts believe nothing without it."
  }
}

variable "trust_root" {
  type        = string
  description = "The text of root.json instead of the file, for pipelines."
  default     = null
}

variable "retraining" {
  type = object({
    schedule    = string
    config_file = string
  })
  description = "When the trainer retrains (cron, UTC), and its detector.toml; left out for no retraining."
  default     = null

  validation {
    condition     = var.retraining == null ? true : fileexists(var.retraining.config_file)
    error_message = "retraining.config_file must name the detector.toml that the detector was trained with."
  }
}

variable "alert_webhooks" {
  type        = map(string)
  description = "Addresses that are called for each alert, by name."
  default     = {}
}

variable "address_space" {
  type        = string
  description = "Addresses of the network; they must not overlap with networks that are peered."
  default     = "10.60.0.0/16"
}

variable "throughput_units" {
  type = object({
    least = number
    most  = number
  })
  description = "Throughput units of Event Hubs: 1 MB or 1000 events a second each."
  default     = { least = 2, most = 10 }
}

variable "partitions" {
  type        = number
  description = "Partitions of the hub of events; it cannot be changed later."
  default     = 16
}

variable "host" {
  type = object({
    replicas_least = number
    replicas_most  = number
    cpu            = number
    lag_events     = number
  })
  description = "How many hosts, how much of a processor each, and for how many waiting events there is to be one."
  default     = { replicas_least = 2, replicas_most = 8, cpu = 1, lag_events = 200000 }
}

variable "replication" {
  type        = string
  description = "How storage keeps copies: ZRS within the region, GZRS in another as well."
  default     = "ZRS"
}

variable "capture_days" {
  type        = number
  description = "Days for which Event Hubs' own copy is kept; left out for none."
  default     = null
}

variable "iot_hub_units" {
  type        = number
  description = "Units of IoT Hub as devices' way up; 0 where there are no devices."
  default     = 0
}

variable "learning" {
  type        = bool
  description = "Whether there is a workspace of Azure Machine Learning for MLflow."
  default     = false
}

variable "site" {
  type        = bool
  description = "Whether there is the page. It is applied from a machine in the network, and seen there."
  default     = false
}
