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
  default     = 150
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

variable "iot_hub_units" {
  type        = number
  description = "Units of IoT Hub as devices' way up; without it they send to Event Hubs."
  default     = 0
}

variable "learning" {
  type        = bool
  description = "Whether there is a workspace of Azure Machine Learning for MLflow."
  default     = false
}
